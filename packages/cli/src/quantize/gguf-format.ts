/** Types of GGUF tensors that are written here (ggml.h), with the bytes of a block and its elements. */
export const GGUF_TYPES = {
  F32: { id: 0, block: 1, bytes: 4 },
  F16: { id: 1, block: 1, bytes: 2 },
  I32: { id: 26, block: 1, bytes: 4 },
  BF16: { id: 30, block: 1, bytes: 2 },
  NVFP4: { id: 40, block: 64, bytes: 36 },
} as const;

/** `general.file_type` of a file whose main type is NVFP4. */
export const GGUF_FILE_TYPE_NVFP4 = 26;

/** Every tensor starts at a multiple of this. */
export const GGUF_ALIGNMENT = 32;

/** A tensor of a GGUF file; `shape` is row-major, the file lists it backwards. */
export interface GgufTensor {
  readonly name: string;
  readonly type: keyof typeof GGUF_TYPES;
  readonly shape: readonly number[];
}

/** Metadata: text, a truth, a float or a list of them, an integer (u32), or a list of integers (i32). */
export type GgufValue =
  | string
  | { readonly bool: boolean }
  | { readonly f32: number }
  | { readonly f32s: readonly number[] }
  | number
  | readonly number[];

const roundUp = (n: number): number => Math.ceil(n / GGUF_ALIGNMENT) * GGUF_ALIGNMENT;

/** Bytes of a tensor's data. */
export function ggufBytes({ type, shape }: GgufTensor): number {
  const { block, bytes } = GGUF_TYPES[type];
  return (shape.reduce((a, b) => a * b, 1) / block) * bytes;
}

/** The head of a GGUF v3 file, padded so that data begin behind it, and where each tensor's data begin in the file. */
export function ggufHeader(
  metadata: readonly (readonly [string, GgufValue])[],
  tensors: readonly GgufTensor[],
): { header: Buffer; starts: number[]; size: number } {
  const parts: Buffer[] = [];
  const u32 = (n: number): void => void parts.push(Buffer.from(Uint32Array.of(n).buffer));
  const i32 = (n: number): void => void parts.push(Buffer.from(Int32Array.of(n).buffer));
  const u64 = (n: number): void => void parts.push(Buffer.from(BigUint64Array.of(BigInt(n)).buffer));
  const text = (s: string): void => {
    const bytes = Buffer.from(s);
    u64(bytes.length);
    parts.push(bytes);
  };
  parts.push(Buffer.from('GGUF'));
  u32(3);
  u64(tensors.length);
  u64(metadata.length);
  for (const [key, value] of metadata) {
    text(key);
    if (typeof value === 'string') {
      u32(8);
      text(value);
    } else if (typeof value === 'number') {
      u32(4);
      u32(value);
    } else if ('bool' in value) {
      u32(7);
      parts.push(Buffer.of(value.bool ? 1 : 0));
    } else if ('f32' in value) {
      u32(6);
      parts.push(Buffer.from(Float32Array.of(value.f32).buffer));
    } else if ('f32s' in value) {
      u32(9);
      u32(6);
      u64(value.f32s.length);
      parts.push(Buffer.from(Float32Array.from(value.f32s).buffer));
    } else {
      u32(9);
      u32(5);
      u64(value.length);
      value.forEach(i32);
    }
  }
  const offsets: number[] = [];
  let at = 0;
  for (const tensor of tensors) {
    text(tensor.name);
    u32(tensor.shape.length);
    [...tensor.shape].reverse().forEach(u64);
    u32(GGUF_TYPES[tensor.type].id);
    u64(at);
    offsets.push(at);
    at = roundUp(at + ggufBytes(tensor));
  }
  const head = Buffer.concat(parts);
  const header = Buffer.concat([head], roundUp(head.length)); // zeros up to the first tensor
  return { header, starts: offsets.map((o) => header.length + o), size: header.length + at };
}
