import { writeTarget } from '@megamoe/checkpoint';
import { ISAS, MAX_THREADS, type BackendName, type BackendOptions, type LoadOptions } from '@megamoe/model';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { messageOf } from './errors';
import { MODEL_HELP, modelFolder, revisionOption } from './model-folder';
import { parseBytes } from './units';

/** A parser of numbers for an option; says what was expected. */
export function number(what: string, accept: (x: number) => boolean): (text: string) => number {
  return (text) => {
    const x = text.trim() === '' ? NaN : Number(text);
    if (!Number.isFinite(x) || !accept(x)) throw new InvalidArgumentError(`Expected ${what}.`);
    return x;
  };
}

/** A parser of integers in a range. */
export function integer(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  const range = max === Number.MAX_SAFE_INTEGER ? `an integer, at least ${min}` : `an integer from ${min} to ${max}`;
  return number(range, (x) => Number.isInteger(x) && x >= min && x <= max);
}

/** A parser of seeds: signed 64-bit integers, which numbers do not hold exactly. */
export function seed(text: string): bigint {
  const value = /^[+-]?\d+$/.test(text.trim()) ? BigInt(text.trim()) : undefined;
  if (value === undefined || value !== BigInt.asIntN(64, value)) {
    throw new InvalidArgumentError('Expected an integer of 64 bits, from -2^63 to 2^63 - 1.');
  }
  return value;
}

/** A parser of amounts of memory. */
export function bytes(text: string): number {
  const n = parseBytes(text);
  if (n === undefined) throw new InvalidArgumentError('Expected an amount of memory, as in 8G, 1.5GB, 900MiB.');
  return n;
}

/** Why no file can be written there when the work is done: its folder is not there, it is a folder itself; undefined when one can. */
export function whyNotWritten(path: string): string | undefined {
  try {
    const folder = dirname(resolve(path));
    if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return `There is no folder ${folder}.`;
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return 'That is a folder.';
    writeTarget(path);
    return undefined;
  } catch (e) {
    return `${messageOf(e)}.`;
  }
}

/** A file that can be written when the work is done. */
export function fileToWrite(path: string): string {
  const why = whyNotWritten(path);
  if (why !== undefined) throw new InvalidArgumentError(why);
  return path;
}

/** Collects an option that may be given several times. */
export function collect<T>(parse: (text: string) => T): (text: string, all?: T[]) => T[] {
  return (text, all = []) => [...all, parse(text)];
}

/** What {@link addModelOptions} adds. */
export interface ModelOptions {
  /** A folder, once the command runs: a name has been looked up. */
  readonly model: string;
  readonly revision?: string | undefined;
  readonly backend: BackendName;
  readonly threads?: number | undefined;
  readonly isa: NonNullable<BackendOptions['isa']>;
  readonly activations: 'nvfp4' | 'float';
  readonly device?: number | undefined;
  readonly gpuMath?: 'exact' | 'fast' | undefined;
  readonly kv?: 'f32' | 'bf16' | undefined;
  readonly floatInputs?: 'f32' | 'bf16' | undefined;
  readonly memory?: number | undefined;
}

/** `--model` and `--revision`; when the command runs, its model is a folder. */
export function addModelOption(command: Command, help = MODEL_HELP): Command {
  return command
    .option('--model <dir>', help, defaultModel())
    .addOption(revisionOption())
    .hook('preAction', (it) => {
      const { model, revision } = it.opts<{ model: string; revision?: string }>();
      it.setOptionValue('model', modelFolder(it.configureOutput().writeErr!, model, revision));
    });
}

/** `--backend`. */
export const backendOption = (): Option =>
  new Option('--backend <name>', 'where to compute').choices(['auto', 'js', 'cpu', 'cuda']).default('auto');

/** `--device`. */
export const deviceOption = (): Option =>
  new Option('--device <n>', 'GPU of the cuda backend, as nvidia-smi counts them (default: the first)').argParser(
    integer(0, 2 ** 20),
  );

/** `--memory`. */
export const memoryOption = (): Option =>
  new Option(
    '--memory <amount>',
    'most memory to take, as in 8G; experts that do not fit are read when they are needed (default: no limit)',
  ).argParser(bytes);

/** Options of every command that runs a model. */
export function addModelOptions(command: Command, { tuning = true }: { readonly tuning?: boolean } = {}): Command {
  addModelOption(command)
    .addOption(backendOption())
    .addOption(deviceOption())
    .addOption(
      new Option(
        '--gpu-math <kind>',
        'W4A4 products of the cuda backend: exact = the bits of the CPU (default), fast = summed inside the tensor core',
      ).choices(['exact', 'fast']),
    )
    .addOption(
      new Option(
        '--kv <type>',
        'how keys are kept: f32 (default), or with the cuda backend bf16, half the memory',
      ).choices(['f32', 'bf16']),
    )
    .option('--threads <n>', 'threads of the cpu backend (default: all processors)', integer(1, MAX_THREADS))
    .addOption(new Option('--isa <name>', 'instruction set of the cpu backend').choices([...ISAS]).default('auto'))
    .addOption(
      new Option('--activations <kind>', 'inputs of NVFP4 experts: nvfp4 = W4A4, float = W4A16')
        .choices(['nvfp4', 'float'])
        .default('nvfp4'),
    );
  if (!tuning) return command;
  command.addOption(
    new Option('--float-inputs <kind>', 'other inputs of linears: f32, or bf16 = rounded, for faster prompts')
      .choices(['f32', 'bf16'])
      .default('f32'),
  );
  return command.addOption(memoryOption());
}

/** What {@link addModelOptions} asked for, as the model package takes it. */
export function loadOptions(o: ModelOptions): LoadOptions {
  const { backend, device, threads, isa, activations, gpuMath, kv, floatInputs, memory } = o;
  return {
    backend,
    isa,
    activations,
    ...(device === undefined ? {} : { device }),
    ...(threads === undefined ? {} : { threads }),
    ...(gpuMath === undefined ? {} : { gpuMath }),
    ...(kv === undefined ? {} : { kv }),
    ...(floatInputs === undefined ? {} : { floatInputs }),
    ...(memory === undefined ? {} : { memoryLimit: memory }),
  };
}

/** Folder of the shipped tiny model, which the command depends on. */
export function defaultModel(): string {
  try {
    return dirname(createRequire(import.meta.url).resolve('@megamoe/tiny-model/config.json'));
  } catch {
    return resolve('models', 'tiny'); // installed without it: the error that follows names a folder and --model
  }
}
