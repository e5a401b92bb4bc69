/** Dumps made in memory, by code of the tests alone. */
import { encodeBf16 } from '@megamoe/core';
import type { Dump, DumpTensor } from '../../src/index';

/** How floats of an output are stored. */
export type Stored = 'F32' | 'BF16' | 'F16';

const bytesOf = (view: ArrayBufferView): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();

/** Half precision by search between neighbours of the decoded grid: slow, and nothing like the code it tests. */
export function encodeF16(x: number): number {
  const a = Math.abs(x);
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  if (Number.isNaN(x)) return 0x7e00;
  const value = (bits: number): number => {
    const e = bits >> 10;
    const m = bits & 1023;
    return e === 0 ? m * 2 ** -24 : (1 + m / 1024) * 2 ** (e - 15);
  };
  let [lo, hi] = [0, 0x7c00]; // value(0x7c00) would be 65536: infinity
  while (hi - lo > 1) {
    const mid = (lo + hi) >> 1;
    if (value(mid) <= a) lo = mid;
    else hi = mid;
  }
  const [down, up] = [a - value(lo), value(hi) - a];
  return sign | (up < down || (up === down && hi % 2 === 0) ? hi : lo);
}

/** A number rounded to a dtype, and back: BF16 by its definition on the bits of a float32. */
export function rounded(x: number, dtype: Stored): number {
  const word = new DataView(new ArrayBuffer(4));
  word.setFloat32(0, x);
  if (dtype === 'F32') return word.getFloat32(0);
  if (dtype === 'F16') {
    const bits = encodeF16(x);
    const [e, m] = [(bits >> 10) & 31, bits & 1023];
    const size = e === 31 ? Infinity : e === 0 ? m * 2 ** -24 : (1 + m / 1024) * 2 ** (e - 15);
    return bits & 0x8000 ? -size : size;
  }
  const bits = word.getUint32(0);
  const [kept, rest] = [bits >>> 16, bits & 0xffff];
  const up = rest > 0x8000 || (rest === 0x8000 && kept % 2 === 1) ? 1 : 0;
  word.setUint32(0, ((kept + up) << 16) >>> 0);
  return word.getFloat32(0);
}

/** A float tensor in a dtype. */
export function floats(shape: readonly number[], data: ArrayLike<number>, dtype: Stored = 'F32'): DumpTensor {
  const bytes =
    dtype === 'F32'
      ? bytesOf(Float32Array.from(data))
      : bytesOf(Uint16Array.from(data, dtype === 'BF16' ? encodeBf16 : encodeF16));
  return { dtype, shape, bytes };
}

/** An I32 tensor. */
export function ints(shape: readonly number[], data: ArrayLike<number>): DumpTensor {
  return { dtype: 'I32', shape, bytes: bytesOf(Int32Array.from(data)) };
}

/** Codes, scales, masks. */
export function bytes(shape: readonly number[], data: ArrayLike<number>, dtype: 'U8' | 'F8_E4M3' = 'U8'): DumpTensor {
  return { dtype, shape, bytes: Uint8Array.from(data) };
}

/** A dump; numbers and objects of the metadata become JSON. */
export function dump(metadata: Record<string, unknown>, tensors: Record<string, DumpTensor | undefined>): Dump {
  return {
    metadata: new Map(Object.entries(metadata).map(([k, v]) => [k, typeof v === 'string' ? v : JSON.stringify(v)])),
    tensors: new Map(Object.entries(tensors).filter((entry): entry is [string, DumpTensor] => entry[1] !== undefined)),
  };
}

/** A sum as kernels make it: float32 at each step, in a shuffled order of four partial sums; or float64. */
export function sum(terms: ArrayLike<number>, how: 'float32' | 'float64'): number {
  if (how === 'float64') return Array.from(terms).reduce((a, b) => a + b, 0);
  const f = Math.fround;
  const parts = [0, 0, 0, 0];
  for (let i = 0; i < terms.length; i++) parts[(i * 7) % 4] = f(parts[(i * 7) % 4]! + f(terms[i]!));
  return f(f(parts[2]! + parts[0]!) + f(parts[3]! + parts[1]!));
}
