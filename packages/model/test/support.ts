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
