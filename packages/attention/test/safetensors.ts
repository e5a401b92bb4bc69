import { readFileSync } from 'node:fs';

/** A tensor of a golden file. */
export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** All tensors of a small safetensors file below test/goldens. */
export function readGolden(name: string): (tensor: string) => GoldenTensor {
  const bytes = new Uint8Array(readFileSync(new URL(`./goldens/${name}`, import.meta.url)));
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))) as Record<
    string,
    { dtype: 'F32' | 'I32' | 'U8'; shape: number[]; data_offsets: [number, number] }
  >;
  return (tensor) => {
    const entry = header[tensor];
    if (!entry) throw new Error(`${name} has no tensor ${tensor}`);
    const [start, end] = entry.data_offsets;
    const raw = bytes.slice(8 + length + start, 8 + length + end);
    const data =
      entry.dtype === 'U8'
        ? raw
        : new (entry.dtype === 'F32' ? Float32Array : Int32Array)(raw.buffer, 0, raw.length / 4);
    return { shape: entry.shape, data };
  };
}

/** The tensor's values, which must be float32. */
export function f32(t: GoldenTensor): Float32Array {
  if (!(t.data instanceof Float32Array)) throw new Error('not F32');
  return t.data;
}
