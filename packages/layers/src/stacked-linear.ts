import { matrixToFloat32, type LinearTensor } from '@megamoe/checkpoint';
import { encodeBf16Array } from '@megamoe/core';
import type { Fp8Rows, LinearSource, Nvfp4Rows, WeightFormat } from '@megamoe/ops';

/** Modules [n, k] with the same input, to be packed as one linear: their rows in the order given. */
export interface StackedModules {
  readonly modules: readonly string[];
  readonly n: number;
  readonly k: number;
  /** Blocks of a block-diagonal weight, [n / groups, k] each. */
  readonly groups: number;
  /** Only for looking up rows: NVFP4 is then dequantized. */
  readonly isTable: boolean;
  /** `static`: the modules' own input scales; `dynamic`: each row's. Modules without one have float inputs either way. */
  readonly inputScales: 'static' | 'dynamic';
  /** Rows of a module; what it returns is not kept beyond the next call. */
  readonly read: (module: string, row0: number, rows: number) => LinearTensor;
}

/** The format to pack in: what the modules are stored in when kernels know it, else the nearest that holds every value exactly. */
function packedFormat(tensors: readonly LinearTensor[], isTable: boolean): WeightFormat {
  const formats = new Set(tensors.map((t) => t.format));
  const [only] = formats;
  if (formats.size === 1 && only !== 'mxfp4' && !(isTable && only === 'nvfp4')) return only!;
  // E2M1 times a power of two has two significant bits.
  return [...formats].every((f) => f === 'bf16' || f === 'mxfp4') ? 'bf16' : 'f32';
}

/** Typed arrays that rows come in. */
type Data = Uint8Array | Uint16Array | Float32Array;

/** The rows of a piece as arrays that stand for themselves: [data], [codes, scales] or [codes, sf]. */
function arraysOf(t: LinearTensor, format: WeightFormat): Data[] {
  if (t.format === format) {
    if (t.format === 'fp8') return [t.codes, t.scales];
    if (t.format === 'nvfp4') return [t.codes, t.sf];
    if (t.format === 'bf16') return [t.data];
  }
  const values = matrixToFloat32(t);
  return [format === 'bf16' ? encodeBf16Array(values) : values];
}

/** Arrays of pieces one after the other. */
function joined(pieces: readonly Data[][]): Data[] {
  return pieces[0]!.map((first, i) => {
    const parts = pieces.map((p) => p[i]!);
    const out = new (first.constructor as new (n: number) => Data)(parts.reduce((sum, p) => sum + p.length, 0));
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  });
}

/** What {@link Backend.packLinear} takes for these modules; `warn` hears of formats that cannot be stacked as they are. */
export function stackedLinear(s: StackedModules, warn: (warning: string) => void): LinearSource {
  const { modules, n, k, groups, read } = s;
  const outlines = modules.map((module) => read(module, 0, 0));
  const format = packedFormat(outlines, s.isTable);
  const stored = [...new Set(outlines.map((t) => t.format))];
  if (stored.length > 1) warn(`${modules.join(', ')}: stored as ${stored.join(' and ')}, packed together as ${format}`);
  const rowsOf = (row0: number, rows: number): Data[] => {
    const pieces: Data[][] = [];
    for (let at = row0; at < row0 + rows;) {
      const count = Math.min(row0 + rows - at, n - (at % n)); // up to the end of the module
      const piece = arraysOf(read(modules[Math.floor(at / n)]!, at % n, count), format);
      if (count === rows) return piece;
      pieces.push(piece.map((data) => data.slice())); // the next read may use its memory
      at += count;
    }
    return joined(pieces);
  };
  const shape = { name: modules.join('+'), n: (modules.length * n) / groups, k, groups };
  if (format === 'fp8') {
    const data = (row0: number, rows: number): Fp8Rows => {
      const [codes, scales] = rowsOf(row0, rows) as [Uint8Array, Float32Array];
      return { codes, scales };
    };
    return { ...shape, dtype: format, data };
  }
  if (format !== 'nvfp4')
    return { ...shape, dtype: format, data: (row0, rows) => rowsOf(row0, rows)[0] as Float32Array | Uint16Array };
  const weights: number[] = [];
  let input = 0;
  for (const t of outlines) {
    if (t.format !== 'nvfp4') continue;
    weights.push(t.weightGlobalDecodeScale);
    input = Math.max(input, t.inputGlobalDecodeScale ?? 0); // one staging serves all: the larger scale holds both
  }
  return {
    ...shape,
    dtype: format,
    parts: modules.length as 1 | 2,
    weightGlobalDecodeScale: Float32Array.from(weights),
    ...(input === 0 ? {} : { inputGlobalDecodeScale: s.inputScales === 'static' ? input : 'row' }),
    data(row0, rows): Nvfp4Rows {
      const [codes, sf] = rowsOf(row0, rows) as [Uint8Array, Uint8Array];
      return { codes, sf };
    },
  };
}
