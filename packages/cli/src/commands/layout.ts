import { createSfGeometry, kSfOf, SF_LAYOUTS, sfOffset, type SfLayout, type SfVecSize } from '@megamoe/sf-layout';
import { Command, Option } from 'commander';
import { UsageError } from '../errors';
import { writeFile } from '../files';
import type { CliIo } from '../io';
import { layoutReport } from '../layout-report';
import { layoutSvg } from '../layout-svg';
import { placeOf, tileSvg, type ChosenScale } from '../tile-svg';
import { fileToWrite, integer } from '../options';

interface LayoutFlags {
  readonly rows: number;
  readonly k: number;
  readonly l: number;
  readonly sfVec: string;
  readonly layout: SfLayout;
  readonly json?: boolean;
  readonly svg?: string;
  readonly row?: number;
  readonly atK?: number;
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
    .option('--svg <file>', 'draw the first tiles with the byte offset of each scale', fileToWrite)
    .option('--row <r>', 'with --at-k: show where this row keeps the scale of that element', integer(0))
    .option('--at-k <k>', 'with --row: an element along K, unpacked', integer(0))
    .addHelpText(
      'after',
      '\nExample:\n  megamoe layout --rows 200 --k 256 --json' +
        '\n  megamoe layout --rows 200 --k 256 --row 33 --at-k 85 --svg tile.svg   (the tile in memory, with that byte)',
    )
    .action((flags: LayoutFlags) => runLayout(io, flags));
}

async function runLayout(io: CliIo, { rows, k, l, sfVec, layout, json, svg, row, atK }: LayoutFlags): Promise<void> {
  const sfVecSize = Number(sfVec) as SfVecSize;
  const geometry = createSfGeometry({ rows, kSf: kSfOf(k, sfVecSize), l, layout });
  const chosen = chosenScale({ rows, k, l, row, atK, sfVecSize });
  if (svg !== undefined) {
    await writeFile(svg, chosen ? tileSvg(geometry, chosen) : layoutSvg(geometry), io.signal);
    io.err(`megamoe: wrote ${svg}\n`);
  }
  if (json) {
    io.out(`${JSON.stringify(layoutReport(geometry))}\n`);
    return;
  }
  if (chosen) io.out(`${placeOf(geometry, chosen).join('\n')}\n`);
  if (svg !== undefined || chosen) return;
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

/** The scale that `--row` and `--at-k` ask for. */
function chosenScale(flags: {
  rows: number;
  k: number;
  l: number;
  row: number | undefined;
  atK: number | undefined;
  sfVecSize: SfVecSize;
}): ChosenScale | undefined {
  const { rows, k, l, row, atK, sfVecSize } = flags;
  if (row === undefined && atK === undefined) return undefined;
  if (row === undefined || atK === undefined) throw new UsageError('layout: --row and --at-k go together');
  if (row >= rows) throw new UsageError(`layout: --row must be below --rows ${rows}, got ${row}`);
  if (atK >= k) throw new UsageError(`layout: --at-k must be below --k ${k}, got ${atK}`);
  if (l === 0) throw new UsageError('layout: --row needs a batch, --l is 0');
  return { row, k: atK, column: Math.floor(atK / sfVecSize) };
}
