import {
  createSfGeometry,
  kSfOf,
  layoutReport,
  SF_LAYOUTS,
  sfOffset,
  type SfLayout,
  type SfVecSize,
} from '@megamoe/sf-layout';
import { Command, Option } from 'commander';
import { writeFileAtomic } from '../files';
import type { CliIo } from '../io';
import { layoutSvg } from '../layout-svg';
import { integer } from '../options';

interface LayoutFlags {
  readonly rows: number;
  readonly k: number;
  readonly l: number;
  readonly sfVec: string;
  readonly layout: SfLayout;
  readonly json?: boolean;
  readonly svg?: string;
}

/** `megamoe layout`. */
export function layoutCommand(io: CliIo): Command {
  return new Command('layout')
    .description('Show where each scale factor of a block-scaled GEMM operand lies.')
    .requiredOption('--rows <r>', 'rows of the operand (M or N)', integer(0))
    .requiredOption('--k <k>', 'elements along K, unpacked', integer(0))
    .option('--l <l>', 'batches (experts), each padded alone', integer(0), 1)
    .addOption(
      new Option('--sf-vec <n>', 'elements that share a scale: 16 = NVFP4, 32 = MX')
        .choices(['16', '32'])
        .default('16'),
    )
    .addOption(new Option('--layout <name>', 'order of the bytes').choices([...SF_LAYOUTS]).default('128x4'))
    .option('--json', 'print {allocationBytes, offsets}, offsets in [l][row][kSf] order')
    .option('--svg <file>', 'draw the first tiles with the byte offset of each scale')
    .addHelpText('after', '\nExample:\n  megamoe layout --rows 200 --k 256 --json')
    .action((flags: LayoutFlags) => runLayout(io, flags));
}

function runLayout(io: CliIo, { rows, k, l, sfVec, layout, json, svg }: LayoutFlags): void {
  const sfVecSize = Number(sfVec) as SfVecSize;
  const geometry = createSfGeometry({ rows, kSf: kSfOf(k, sfVecSize), l, layout });
  if (svg !== undefined) {
    writeFileAtomic(svg, layoutSvg(geometry));
    io.err(`megamoe: wrote ${svg}\n`);
  }
  if (json) {
    io.out(`${JSON.stringify(layoutReport({ rows, k, l, sfVecSize, layout }))}\n`);
    return;
  }
  if (svg !== undefined) return;
  const { kSf, allocationBytes } = geometry;
  const show = {
    rows: [...new Set([0, 1, 31, 32, 33, 64, 96, 127, 128, rows - 1])].filter((r) => r >= 0 && r < rows),
    k: [0, 1, 2, 3, 4, 5, 8].filter((c) => c < kSf),
  };
  io.out(
    `${layout}: ${rows} rows x ${kSf} scales (K = ${k}, one scale per ${sfVecSize}), ${l} batch${l === 1 ? '' : 'es'}: ${allocationBytes} bytes\n`,
  );
  if (l === 0 || show.rows.length === 0 || show.k.length === 0) return;
  const cell = (x: string | number): string => String(x).padStart(9);
  io.out(`\nByte offsets in batch 0\n${cell('row')}${show.k.map((c) => cell(`k ${c}`)).join('')}\n`);
  for (const row of show.rows) io.out(`${cell(row)}${show.k.map((c) => cell(sfOffset(geometry, row, c))).join('')}\n`);
}
