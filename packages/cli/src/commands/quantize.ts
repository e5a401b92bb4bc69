import { canonicalName, openCheckpoint, writeCheckpoint, type TensorToWrite } from '@megamoe/checkpoint';
import { UnsupportedError } from '@megamoe/core';
import { Command, Option } from 'commander';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { UsageError } from '../errors';
import type { CliIo } from '../io';
import { integer } from '../options';
import { calibrateFromText, readCalibration } from '../quantize/calibration';
import { ExpertQuantizer, type ProjectionReport } from '../quantize/experts';
import { manifests } from '../quantize/manifest';
import { table } from '../table';

interface QuantizeFlags {
  readonly in: string;
  readonly out: string;
  readonly layers: string;
  readonly calibration?: string;
  readonly calibrate?: string;
  readonly maxShardBytes: number;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

/** Files of a checkpoint that are taken over as they are. */
const COPIED = ['generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'];

/** `megamoe quantize`. */
export function quantizeCommand(io: CliIo): Command {
  return new Command('quantize')
    .description('Write a checkpoint whose routed experts are NVFP4, in the layout of NVIDIA ModelOpt.')
    .requiredOption('--in <dir>', 'checkpoint with BF16, F16 or F32 experts')
    .requiredOption('--out <dir>', 'folder to write')
    .addOption(new Option('--format <name>', 'target format').choices(['nvfp4']).default('nvfp4'))
    .addOption(
      new Option(
        '--calibration <file>',
        'JSON [{w13: [amax of each expert], w2: [...]}, ...] for input_scale',
      ).conflicts('calibrate'),
    )
    .option('--calibrate <textfile>', 'measure input_scale by running the model over this text')
    .addOption(new Option('--layers <which>', 'what to quantize').choices(['experts', 'all']).default('experts'))
    .option('--max-shard-bytes <n>', 'most tensor bytes in a file', integer(1), 5e9)
    .option('--overwrite', 'replace a checkpoint that is there')
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  megamoe quantize --in tiny-bf16 --out tiny-nvfp4 --calibration calibration.json',
    )
    .action((flags: QuantizeFlags) => runQuantize(io, flags));
}

async function runQuantize(io: CliIo, flags: QuantizeFlags): Promise<void> {
  if (flags.layers === 'all') {
    throw new UnsupportedError('quantize: --layers all is not available in this version; --layers experts is');
  }
  if (resolve(flags.in) === resolve(flags.out))
    throw new UsageError('quantize: --out must be another folder than --in');
  const checkpoint = openCheckpoint(flags.in);
  try {
    const { numHiddenLayers, numExperts } = checkpoint.config;
    const calibration =
      flags.calibration !== undefined
        ? readCalibration(flags.calibration, numHiddenLayers, numExperts)
        : flags.calibrate !== undefined
          ? await calibrateFromText(flags.in, flags.calibrate, { signal: io.signal })
          : undefined;
    const quantizer = new ExpertQuantizer(checkpoint, calibration);
    const tensors: TensorToWrite[] = [];
    for (const [name, info] of checkpoint.tensors) {
      const canonical = canonicalName(name);
      if (/^layers\.\d+\.ffn\.experts\./.test(canonical)) continue;
      tensors.push({ name: canonical, dtype: info.dtype, shape: info.shape, data: () => checkpoint.read(name) });
    }
    for (let layer = 0; layer < numHiddenLayers; layer++) {
      for (let expert = 0; expert < numExperts; expert++) tensors.push(...quantizer.tensors(layer, expert));
    }
    const files = manifests(flags.in, numHiddenLayers);
    for (const name of COPIED) {
      const path = join(flags.in, name);
      if (existsSync(path)) files[name] = readFileSync(path);
    }
    await writeCheckpoint(flags.out, tensors, {
      files,
      maxShardBytes: flags.maxShardBytes,
      overwrite: flags.overwrite ?? false,
      signal: io.signal,
      onProgress: progress(io),
    });
    report(
      io,
      flags,
      quantizer.reports,
      calibration?.unreached ?? new Map<string, number[]>(),
      calibration !== undefined,
    );
  } finally {
    checkpoint.close();
  }
}

/** Draws progress on a terminal, at most ten times a second. */
function progress(io: CliIo): (done: number, total: number) => void {
  const started = performance.now();
  let drawn = started;
  return (done, total) => {
    const now = performance.now();
    if (!io.isTerminal || (now - drawn < 100 && done < total)) return;
    drawn = now;
    const rate = done / (now - started) / 1e3;
    io.err(`\r${((100 * done) / total).toFixed(0).padStart(3)}%  ${rate.toFixed(0)} MB/s${done === total ? '\n' : ''}`);
  };
}

function report(
  io: CliIo,
  flags: QuantizeFlags,
  reports: readonly ProjectionReport[],
  unreached: ReadonlyMap<string, readonly number[]>,
  calibrated: boolean,
): void {
  for (const [where, experts] of unreached) {
    const [layer, projection] = where.split('.');
    io.err(
      `megamoe: warning: calibration never reached experts ${experts.join(', ')} of layer ${layer} ${projection}; they get the projection's largest\n`,
    );
  }
  if (!calibrated)
    io.err(
      'megamoe: no calibration given: no input_scale is written, and activations are scaled row by row at run time\n',
    );
  if (flags.json) {
    io.out(`${JSON.stringify({ out: flags.out, projections: reports, unreached: Object.fromEntries(unreached) })}\n`);
    return;
  }
  io.out(
    table(
      ['layer', 'projection', 'relative error', 'worst cosine', 'blocks', 'saturated', 'minimum', 'zero'],
      reports.map((r) => [
        r.layer,
        r.projection,
        r.relativeError.toFixed(4),
        r.worstCosine.toFixed(5),
        r.blocks,
        r.saturatedScales,
        r.minimumScales,
        r.zeroBlocks,
      ]),
    ),
  );
}
