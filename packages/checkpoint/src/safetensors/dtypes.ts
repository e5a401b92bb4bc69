import { checkOneOf } from '@megamoe/core';

/**
 * Element types of safetensors files, in the order in which the official implementation declares them: a writer sorts tensors by
 * this order, largest first, so that every tensor is aligned. Source: huggingface/safetensors `safetensors/src/tensor.rs`.
 */
const BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** Element type of a stored tensor, as safetensors spells it. */
export type Dtype = keyof typeof BITS;

/** Every element type a safetensors file may hold, in the official order. */
export const DTYPES: readonly Dtype[] = Object.keys(BITS) as Dtype[];

/** Bits of one element. */
export function dtypeBits(dtype: Dtype): number {
  checkOneOf('dtypeBits', 'dtype', dtype, DTYPES);
  return BITS[dtype];
}

/** Whether `name` is an element type of safetensors. */
export function isDtype(name: unknown): name is Dtype {
  return typeof name === 'string' && Object.hasOwn(BITS, name);
}

/**
 * Bytes of a tensor, or `undefined` when the size is not a whole number of bytes or passes 2^53.
 * A scalar has shape `[]` and one element.
 */
export function tensorBytes(dtype: Dtype, shape: readonly number[]): number | undefined {
  if (shape.includes(0)) return 0;
  let elements = 1;
  for (const n of shape) {
    elements *= n;
    if (elements > Number.MAX_SAFE_INTEGER) return undefined;
  }
  const bits = elements * BITS[dtype];
  if (bits > Number.MAX_SAFE_INTEGER || bits % 8 !== 0) return undefined;
  return bits / 8;
}

/** Elements of a tensor of this shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}
