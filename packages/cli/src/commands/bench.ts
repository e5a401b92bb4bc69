import { isThere } from '@megamoe/checkpoint';
import type { KernelIsa } from '@megamoe/gemm-native';
import { ISAS, MAX_THREADS, type BackendName } from '@megamoe/model';
import { Command, InvalidArgumentError, Option } from 'commander';
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { gpuContext, openGpu, type GpuBackend } from '../bench/gpu/context';
import { PEERS, type Peer } from '../bench/gpu/peers';
import { appendHistory, parseHistory, type BenchOrigin } from '../bench/history';
import { answerMemory, type MemoryQuestion } from '../bench/memory-cases';
import { plotHistory, threeDigits } from '../bench/plot';
import { runBench, runtimeOf } from '../bench/run';
import type { BenchRow } from '../bench/types';
import { UsageError } from '../errors';
import { checkTargets, writeFile } from '../files';
import type { CliIo } from '../io';
import { readBytes } from '../read-file';
import { defaultModel, fileToWrite, integer } from '../options';
import { table } from '../table';

interface BenchFlags {
  readonly filter?: string;
  readonly json?: boolean;
  readonly threads?: readonly number[];
  readonly backend: BackendName;
  readonly device?: number;
  readonly isa: KernelIsa;
  readonly shape?: 'v4-flash' | 'tiny';
  readonly layers?: number;
  readonly experts?: number;
  readonly context: number;
  readonly vocab: number;
  readonly dense?: 'bf16' | 'fp8' | 'nvfp4';
  readonly floatInputs: 'f32' | 'bf16';
  readonly peer?: Peer;
  readonly quick?: boolean;
  readonly csv?: string;
  readonly plot?: string;
  readonly memoryOf?: string;
}

/** Parses `1,2`. */
function threadList(text: string): number[] {
  const counts = text.split(',').map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : NaN));
  if (counts.some((n) => !(n >= 1 && n <= MAX_THREADS)))
    throw new InvalidArgumentError(`Expected numbers from 1 to ${MAX_THREADS} with commas between, as in 1,2.`);
  return [...new Set(counts)];
}

/** `megamoe bench`. */
export function benchCommand(io: CliIo): Command {
  return new Command('bench')
    .description("Measure kernels and whole steps, each beside the machine's limit measured in turn with it.")
    .option('--filter <text>', 'only rows whose name or shape contains this')
    .option('--json', 'print one JSON array of {name, shape, threads, median, unit, ceiling, fraction, target}')
    .option('--threads <list>', 'numbers of threads, as in 1,2 (default: 1 and all processors)', threadList)
    .addOption(
      new Option('--backend <name>', 'where to compute; auto is no GPU')
        .choices(['auto', 'js', 'cpu', 'cuda'])
        .default('auto'),
    )
    .option(
      '--device <n>',
      'GPU of --backend cuda, as nvidia-smi counts them (default: the first)',
      integer(0, 2 ** 20),
    )
    .addOption(new Option('--isa <name>', 'instruction set of the cpu backend').choices([...ISAS]).default('auto'))
    .addOption(
      new Option(
        '--shape <name>',
        'only whole steps of this model: random weights of V4-Flash shape, or models/tiny',
      ).choices(['v4-flash', 'tiny']),
    )
    .option('--layers <n>', 'layers of the v4-flash model (default: 2; on a GPU as many as fit)', integer(2, 61))
    .option('--experts <n>', 'experts of a layer of it (default: 64; on a GPU 256)', integer(6, 1024))
    .option('--context <n>', 'tokens that a decode step of it has behind it', integer(1, 1 << 20), 4096)
    .option('--vocab <n>', 'tokens of its vocabulary', integer(16, 1 << 20), 129_280)
    .addOption(
      new Option(
        '--dense <format>',
        "format of the v4-flash model's attention and shared experts (default: bf16; on a GPU fp8)",
      ).choices(['bf16', 'fp8', 'nvfp4']),
    )
    .addOption(
      new Option('--float-inputs <kind>', 'its inputs of linears that are not quantized')
        .choices(['f32', 'bf16'])
        .default('f32'),
    )
    .addOption(
      new Option('--peer <name>', "with --backend cuda: the same shapes in python3's torch, in the same run").choices(
        PEERS,
      ),
    )
    .option('--quick', 'small shapes, few repetitions: shows that it runs, not how fast')
    .option('--csv <file>', 'append the rows to a history', fileToWrite)
    .option('--plot <file>', 'draw the rows (with --csv, the whole history) as an SVG', fileToWrite)
    .addOption(new Option('--memory-of <json>', 'answer a question of the memory row').hideHelp())
    .addHelpText('after', '\nExample:\n  megamoe bench --filter w4a4 --threads 1,2')
    .action((flags: BenchFlags) => bench(io, flags));
}

async function bench(io: CliIo, flags: BenchFlags): Promise<void> {
  if (flags.memoryOf !== undefined) {
    io.out(`${JSON.stringify(await answerMemory(JSON.parse(flags.memoryOf) as MemoryQuestion))}\n`);
    return;
  }
  const { csv, plot, json, backend, isa } = flags;
  checkBackendFlags(flags);
  checkTargets('bench', { 'the shipped model': defaultModel() }, { '--csv': csv, '--plot': plot });
  const before = csv !== undefined && isThere(csv) && statSync(csv).isFile() ? readBytes(csv).toString() : '';
  parseHistory(before); // a wrong file is found before the work, not after
  const gpu = backend === 'cuda' ? openGpu(flags.device) : undefined;
  try {
    const origin = originOf({ backend, isa, gpu });
    const rows = await measure(io, flags, gpu);
    io.out(json ? `${JSON.stringify(rows)}\n` : benchTable(rows));
    if (csv === undefined && plot === undefined) return;
    const text = appendHistory(before, origin, rows);
    if (csv !== undefined) {
      await writeFile(csv, text, io.signal);
      io.err(`megamoe: wrote ${csv}\n`);
    }
    if (plot !== undefined) {
      await writeFile(plot, plotHistory(parseHistory(text)), io.signal);
      io.err(`megamoe: wrote ${plot}\n`);
    }
  } finally {
    gpu?.dispose();
  }
}

/** Throws for options of one backend with another. */
function checkBackendFlags({ backend, threads, isa, floatInputs, device, peer }: BenchFlags): void {
  const isGpu = backend === 'cuda';
  const [words, other] = isGpu
    ? [[threads && '--threads', isa !== 'auto' && '--isa', floatInputs !== 'f32' && '--float-inputs'], 'cpu']
    : [[device !== undefined && '--device', peer && '--peer'], 'cuda'];
  const wrong = words.find((word) => typeof word === 'string');
  if (wrong !== undefined) throw new UsageError(`bench: ${wrong} is for --backend ${other}, got --backend ${backend}`);
}

async function measure(io: CliIo, flags: BenchFlags, gpu: GpuBackend | undefined): Promise<BenchRow[]> {
  const { quick = false, backend, isa, filter, shape, peer, floatInputs, layers } = flags;
  const isGpu = gpu !== undefined;
  const {
    threads = [...new Set([1, Math.min(availableParallelism(), MAX_THREADS)])],
    experts = isGpu ? 256 : 64,
    dense = isGpu ? 'fp8' : 'bf16',
  } = flags;
  const context = quick ? Math.min(flags.context, 256) : flags.context;
  const step = { experts, context, vocab: flags.vocab, dense, floatInputs };
  io.err(`megamoe: ${runtimeOf({ backend, isa }, gpu)}${quick ? '; --quick figures say nothing about speed' : ''}\n`);
  const say = (text: string): void => io.err(`megamoe: ${text}\n`);
  return runBench({
    ...{ backend, isa, threads, quick },
    step: { ...step, layers: layers ?? 2 },
    signal: io.signal,
    ...(filter === undefined ? {} : { filter }),
    ...(shape === undefined ? {} : { shape }),
    ...(peer === undefined ? {} : { peer }),
    ...(gpu === undefined
      ? {}
      : {
          gpu: gpuContext(gpu, {
            quick,
            step: quick ? { ...step, layers: 2, experts: 8, vocab: 512 } : { ...step, layers },
            signal: io.signal,
            device: gpu.device,
            say,
          }),
        }),
    onRow: (row) => say(`${row.name} ${row.shape} x${row.threads}: ${figures(row)}`),
    onSkip: (what, why) => say(`not measured: ${what}: ${why}`),
  });
}

const figures = (row: BenchRow): string =>
  `${threeDigits(row.median)} ${row.unit} of ${threeDigits(row.ceiling)} = ${row.fraction.toFixed(3)}${promise(row)}`;

/** What is promised of a row, and whether it holds. */
function promise({ fraction, target, atMost }: BenchRow): string {
  if (target === undefined) return '';
  const met = atMost ? fraction <= target : fraction >= target;
  return ` (${atMost ? '<=' : '>='} ${target}: ${met ? 'yes' : 'no'})`;
}

function benchTable(rows: readonly BenchRow[]): string {
  return table(
    ['name', 'shape', 'threads', 'median', 'unit', 'ceiling', 'fraction', 'target', 'met'],
    rows.map((row) => [
      row.name,
      row.shape,
      row.threads,
      threeDigits(row.median),
      row.unit,
      threeDigits(row.ceiling),
      row.fraction.toFixed(3),
      row.target === undefined ? '' : `${row.atMost ? '<=' : '>='} ${row.target}`,
      row.target === undefined ? '' : promise(row).endsWith('yes)') ? 'yes' : 'no',
    ]),
  );
}

/** Machine, runtime, commit and time of this run. */
function originOf(o: { backend: BackendName; isa: KernelIsa; gpu: GpuBackend | undefined }): BenchOrigin {
  const processors = `${cpus()[0]?.model.trim() ?? 'unknown processor'} x${availableParallelism()}`;
  const gpu = o.gpu?.bench.gpu;
  return {
    date: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
    commit: commitOf(),
    machine: gpu ? `${gpu.name}, driver for CUDA ${gpu.driver ?? 'unknown'}, ${processors}` : processors,
    runtime: runtimeOf(o, o.gpu),
  };
}

/** The commit of the working folder, with `+` when tracked files differ; empty when git or a repository is not there. */
function commitOf(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return `${git('rev-parse', '--short=12', 'HEAD')}${git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '+'}`;
  } catch {
    return '';
  }
}
