import { SafetensorsFile } from '@megamoe/checkpoint';
import { repositoryFile } from '@megamoe/testkit';
import {
  addonInfos,
  createBackend,
  ISAS,
  loadModel,
  type BackendName,
  type LoadOptions,
  type Model,
} from '../src/index';

/** Every backend of this machine: `cpu` only where the addons are built. */
export const BACKENDS: BackendName[] = addonInfos().every((info) => info.loaded) ? ['js', 'cpu'] : ['js'];

/** Every way of computing that this machine has: js, and each instruction set of the addons. */
export const ENGINES: readonly LoadOptions[] = [
  { backend: 'js' },
  ...ISAS.filter((isa) => {
    try {
      return isa !== 'auto' && BACKENDS.includes('cpu') && createBackend({ backend: 'cpu', isa }).name === 'cpu';
    } catch {
      return false; // this processor lacks it
    }
  }).map((isa) => ({ backend: 'cpu' as const, isa })),
];

export const TINY = repositoryFile('models/tiny');
export const MICRO_FLASH = repositoryFile('models/micro-flash');
export const MICRO_WIDE = repositoryFile('models/micro-wide');

/** Largest absolute difference; NaN counts as infinite. */
export function maxAbs(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let worst = got.length === want.length ? 0 : Infinity;
  for (let i = 0; i < want.length; i++) {
    const d = Math.abs(got[i]! - want[i]!);
    if (!(d <= worst)) worst = Number.isNaN(d) ? Infinity : d;
  }
  return worst;
}

export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < b.length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return ab / Math.sqrt(aa * bb);
}

/** Negative log-likelihood of each token but the first, from logits [S, V]. */
export function nll(logits: Float32Array, tokenIds: readonly number[]): Float64Array {
  const v = logits.length / tokenIds.length;
  return Float64Array.from({ length: tokenIds.length - 1 }, (_, t) => {
    const row = logits.subarray(t * v, (t + 1) * v);
    const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
    return top + Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0)) - row[tokenIds[t + 1]!]!;
  });
}

/** Lets this process answer the test runner, which gives up one that is silent for a minute. Between two calls: a second of work at most. */
export const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Logits [S, V] of a prompt that goes through in chunks, with a breath after each; the bits are those of one chunk. */
export async function prefill(m: Model, tokenIds: readonly number[]): Promise<Float32Array> {
  const chunk = m.backend.name === 'js' ? 128 : 256;
  const v = m.config.vocabSize;
  const sequence = m.createSequence({ maxTokens: tokenIds.length });
  const logits = new Float32Array(tokenIds.length * v);
  for (let at = 0; at < tokenIds.length; at += chunk) {
    const to = Math.min(at + chunk, tokenIds.length);
    m.forward([{ sequence, tokenIds: tokenIds.slice(at, to) }], {
      logits: 'all',
      out: logits.subarray(at * v, to * v),
    });
    await breathe();
  }
  return logits;
}

/** A golden tensor, decoded. */
export interface Golden {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** All tensors of a safetensors file. */
export function readGolden(path: string): Map<string, Golden> {
  const file = new SafetensorsFile(path);
  try {
    return new Map(
      [...file.tensors].map(([name, { dtype, shape }]) => {
        const bytes = file.read(name);
        const data =
          dtype === 'F32'
            ? new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
            : dtype === 'I32'
              ? new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
              : bytes;
        return [name, { shape, data }];
      }),
    );
  } finally {
    file.close();
  }
}

const loaded = new Map<string, Promise<Model>>();

/** A model, loaded once for each set of options. */
export function model(dir: string, options: LoadOptions): Promise<Model> {
  const key = JSON.stringify([dir, options]);
  let found = loaded.get(key);
  if (!found) loaded.set(key, (found = loadModel(dir, options)));
  return found;
}
