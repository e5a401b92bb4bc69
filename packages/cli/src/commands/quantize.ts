import { isThere, openCheckpoint, writeCheckpoint, type Checkpoint } from '@megamoe/checkpoint';
import { ValueError } from '@megamoe/core';
import { MAX_THREADS, type BackendName } from '@megamoe/model';
import { Command, Option } from 'commander';
import { UsageError } from '../errors';
import { checkTargets, writeFile } from '../files';
import type { CliIo } from '../io';
import { bytes, fileToWrite, integer, whyNotWritten } from '../options';
import { MODEL_HELP, modelFolder, revisionOption } from '../model-folder';
import { ProgressLine } from '../progress';
import { calibrateFromText, readCalibration, type Calibration } from '../quantize/calibration';
import { writeGguf } from '../quantize/gguf';
import { inputScales } from '../quantize/input-scales';
import { manifests } from '../quantize/manifest';
import { Measurements } from '../quantize/measure';
import { Quantizer } from '../quantize/quantizer';
import { reportPage, reportTable, type QuantizeReport } from '../quantize/report';
import { sideFiles } from '../quantize/side-files';
import { selectUnits, type QuantizedLayers } from '../quantize/select';
import { copiedTensors, quantizedTensors } from '../quantize/tensors';
import { bytesText } from '../units';

interface QuantizeFlags {
  readonly in: string;
  readonly revision?: string;
  readonly out: string;
  readonly format: 'nvfp4' | 'gguf';
  readonly layers: QuantizedLayers;
  readonly calibration?: string;
  readonly calibrate?: string;
  readonly maxShardBytes: number;
  readonly overwrite?: boolean;
  readonly json?: boolean;
  readonly html?: string;
  readonly backend: BackendName;
  readonly threads?: number;
  readonly memory?: number;
}

/** `megamoe quantize`. */
export function quantizeCommand(io: CliIo): Command {
  return new Command('quantize')
    .description('Write a checkpoint in NVFP4: in the layout of NVIDIA ModelOpt, or as GGUF.')
    .requiredOption('--in <dir>', `${MODEL_HELP}, in any format that can be read`)
    .addOption(revisionOption())
    .requiredOption('--out <path>', 'folder to write; with --format gguf a file')
    .addOption(new Option('--format <name>', 'what to write').choices(['nvfp4', 'gguf']).default('nvfp4'))
    .addOption(
      new Option('--layers <which>', 'what to quantize: routed experts, or all matrices but router, embedding and head')
        .choices(['experts', 'all'])
        .default('experts'),
    )
    .addOption(
      new Option(
        '--calibration <file>',
        'JSON [{w13: [amax of each expert], w2: [...]}, ...] for input_scale',
      ).conflicts('calibrate'),
    )
    .option('--calibrate <textfile>', 'measure input_scale by running the model over this text')
    .option('--max-shard-bytes <n>', 'most tensor bytes in a file', integer(1), 5e9)
    .option('--overwrite', 'replace what is there')
    .option('--json', 'print the report as JSON')
    .option('--html <file>', 'write the report as a page with plots', fileToWrite)
    .addOption(new Option('--backend <name>', 'where to compute').choices(['auto', 'js', 'cpu']).default('auto'))
    .option('--threads <n>', 'threads of the cpu backend (default: all processors)', integer(1, MAX_THREADS))
    .option('--memory <amount>', 'most memory that --calibrate may take, as in 8G', bytes)
    .addHelpText(
      'after',
      '\nExample:\n  megamoe quantize --in tiny-bf16 --out tiny-nvfp4 --calibration calibration.json\n' +
        '  megamoe quantize --in DeepSeek-V4-Flash --out flash-nvfp4 --calibrate text.txt --memory 32G --html report.html',
    )
    .action((flags: QuantizeFlags) => runQuantize(io, { ...flags, in: modelFolder(io.err, flags.in, flags.revision) }));
}

async function runQuantize(io: CliIo, flags: QuantizeFlags): Promise<void> {
  const reads = { '--in': flags.in, '--calibration': flags.calibration, '--calibrate': flags.calibrate };
  if (flags.format === 'gguf') {
    const why = whyNotWritten(flags.out);
    if (why !== undefined) throw new UsageError(`quantize: --out ${flags.out}: ${why}`);
    checkTargets('quantize', reads, { '--out': flags.out, '--html': flags.html });
  } else checkTargets('quantize', reads, { '--html': flags.html }, { '--out': flags.out });
  const checkpoint = openCheckpoint(flags.in);
  try {
    const { units, left } = selectUnits(checkpoint, flags.layers, { repack: flags.format === 'gguf' });
    const calibration = await calibrate(io, flags, checkpoint);
    const measurements = new Measurements();
    const quantizer = new Quantizer(checkpoint, measurements, {
      backend: flags.backend === 'cpu' ? 'native' : flags.backend === 'js' ? 'js' : 'auto',
      ...(flags.threads === undefined ? {} : { threads: flags.threads }),
    });
    const started = performance.now();
    const line = new ProgressLine(io);
    let written = 0;
    const onProgress = (done: number, total: number): void => {
      written = total;
      line.update(done, total, flags.out);
    };
    try {
      await write(io, flags, checkpoint, { units, left, quantizer, calibration, onProgress });
    } finally {
      line.clear();
    }
    for (const warning of checkpoint.warnings) io.err(`megamoe: warning: ${warning}\n`);
    await report(io, flags, calibration, {
      source: flags.in,
      out: flags.out,
      projections: measurements.reports,
      unreached: Object.fromEntries(calibration?.unreached ?? []),
      left,
      bytes: written,
      seconds: (performance.now() - started) / 1e3,
    });
  } finally {
    checkpoint.close();
  }
}

async function calibrate(
  io: CliIo,
  { in: dir, layers, calibration, calibrate: text, backend, threads, memory }: QuantizeFlags,
  { config }: Checkpoint,
): Promise<Calibration | undefined> {
  if (calibration !== undefined)
    return readCalibration(calibration, config.numHiddenLayers, config.numExperts, io.signal);
  if (text === undefined) return undefined;
  const options = {
    backend,
    signal: io.signal,
    ...(threads === undefined ? {} : { threads }),
    ...(memory === undefined ? {} : { memoryLimit: memory }),
  };
  return calibrateFromText(dir, text, { ...options, linears: layers === 'all' });
}

async function write(
  io: CliIo,
  flags: QuantizeFlags,
  checkpoint: Checkpoint,
  o: ReturnType<typeof selectUnits> & {
    quantizer: Quantizer;
    calibration: Calibration | undefined;
    onProgress: (done: number, total: number) => void;
  },
): Promise<void> {
  const { units, left, quantizer, calibration, onProgress } = o;
  const inputs = inputScales(checkpoint, units, calibration);
  const overwrite = flags.overwrite ?? false;
  if (flags.format === 'gguf') {
    if (!overwrite && isThere(flags.out))
      throw new ValueError(`quantize: "${flags.out}" is there; give --overwrite to replace it`);
    if (checkpoint.draft.layers > 0)
      io.err(
        `megamoe: warning: ${checkpoint.draft.tensors.size} tensors of draft layers (mtp.*) are left out: GGUF has no names for them here\n`,
      );
    await writeGguf(flags.out, checkpoint, { units, quantizer, inputs, signal: io.signal, onProgress });
    return;
  }
  const beside = sideFiles(flags.in, flags.out);
  for (const [name, why] of beside.left) io.err(`megamoe: warning: ${name} is not copied: ${why}\n`);
  const files = { ...Object.fromEntries(beside.files), ...manifests(checkpoint, flags.layers, left) };
  const tensors = [...copiedTensors(checkpoint, units), ...quantizedTensors(units, quantizer, inputs)];
  await writeCheckpoint(flags.out, tensors, {
    files,
    maxShardBytes: flags.maxShardBytes,
    overwrite,
    signal: io.signal,
    onProgress,
  });
}

async function report(
  io: CliIo,
  flags: QuantizeFlags,
  calibration: Calibration | undefined,
  r: QuantizeReport,
): Promise<void> {
  for (const [where, experts] of Object.entries(r.unreached)) {
    const [layer, projection] = where.split('.');
    io.err(
      `megamoe: warning: calibration never reached experts ${experts.join(', ')} of layer ${layer} ${projection}; they get the projection's largest\n`,
    );
  }
  if (r.left.length > 0)
    io.err(
      `megamoe: warning: ${r.left.length} matrices stay as they are, their width is no multiple of 16: ${r.left.join(', ')}\n`,
    );
  if (calibration === undefined)
    io.err(
      'megamoe: no calibration given: no input_scale is written but those of the source, and activations are scaled row by row at run time\n',
    );
  if (io.isTerminal) io.err(`megamoe: wrote ${bytesText(r.bytes)} in ${r.seconds.toFixed(1)} s\n`);
  if (flags.html !== undefined)
    await writeFile(flags.html, reportPage(r, `megamoe quantize --in ${flags.in} --out ${flags.out}`), io.signal);
  io.out(flags.json ? `${JSON.stringify(r)}\n` : reportTable(r.projections));
}
