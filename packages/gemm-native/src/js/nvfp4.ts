import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';

/** NVFP4 experts of the js engine: codes [E, N, K/2], sf [E, N, K/16], as they are stored in a checkpoint. */
export interface Nvfp4Storage {
  readonly codes: Uint8Array;
  readonly sf: Uint8Array;
}

/** One matrix of NVFP4 weights and its alphas [*, parts]. */
export interface Nvfp4Matrix {
  readonly w: Nvfp4Storage;
  readonly matrix: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly alpha: Float32Array;
}

/** What a grouped product of quantized rows takes. */
export interface QuantizedProduct {
  readonly w: Nvfp4Storage;
  readonly shape: { readonly n: number; readonly k: number; readonly parts: number };
  /** [R, K/2] codes and [R, K/16] scales. */
  readonly a: Nvfp4Storage;
  readonly expertOffsets: Int32Array;
  /** [E*parts] */
  readonly alpha: Float32Array;
  /** [R], or null. */
  readonly rowScale: Float32Array | null;
  readonly out: Float32Array;
}

/**
 * `pairDot[a << 8 | b]` = 4 * (lo(a)*lo(b) + hi(a)*hi(b)) for two bytes of two codes each: an integer of at most 288. Eight look-ups
 * make a block dot, without decoding either side. Made with the engine: an import should not cost these milliseconds.
 */
export function makePairDot(): Int16Array {
  const table = new Int16Array(65536);
  for (let a = 0; a < 256; a++) {
    for (let b = 0; b < 256; b++) {
      const lo = E2M1_VALUES[a & 15]! * E2M1_VALUES[b & 15]!;
      const hi = E2M1_VALUES[a >> 4]! * E2M1_VALUES[b >> 4]!;
      table[(a << 8) | b] = 4 * (lo + hi);
    }
  }
  return table;
}

/** A quarter of each E4M3 value, exact: takes back the factor 4 of {@link makePairDot}. */
const E4M3_QUARTER = E4M3_VALUES.map((v) => v / 4);

/** `acc` of one row and one column: `acc = f32(acc + dot*sa*sb)` over ascending blocks. The product is exact in float64 and float32. */
function rowDot(
  pairDot: Int16Array,
  { codes: aCodes, sf: aSf }: Nvfp4Storage,
  aRow: number,
  { codes: bCodes, sf: bSf }: Nvfp4Storage,
  bRow: number,
  kSf: number,
): number {
  const as0 = aRow * kSf;
  const bs0 = bRow * kSf;
  let acc = 0;
  for (let s = 0; s < kSf; s++) {
    const a = (as0 + s) * 8;
    const b = (bs0 + s) * 8;
    const dot =
      pairDot[(aCodes[a]! << 8) | bCodes[b]!]! +
      pairDot[(aCodes[a + 1]! << 8) | bCodes[b + 1]!]! +
      pairDot[(aCodes[a + 2]! << 8) | bCodes[b + 2]!]! +
      pairDot[(aCodes[a + 3]! << 8) | bCodes[b + 3]!]! +
      pairDot[(aCodes[a + 4]! << 8) | bCodes[b + 4]!]! +
      pairDot[(aCodes[a + 5]! << 8) | bCodes[b + 5]!]! +
      pairDot[(aCodes[a + 6]! << 8) | bCodes[b + 6]!]! +
      pairDot[(aCodes[a + 7]! << 8) | bCodes[b + 7]!]!;
    acc = Math.fround(acc + dot * (E4M3_VALUES[aSf[as0 + s]!]! * E4M3_QUARTER[bSf[bs0 + s]!]!));
  }
  return acc;
}

/**
 * W4A4 for all experts: `acc = acc + f32(dot * sa * sb)` over 16-element blocks in ascending k, `out = f32(alpha[e*parts + part] * acc)`,
 * then, where rows have scales of their own, `out = f32(out * rowScale[r])`. The block dot is an integer and its product with the two scales
 * exact, so that the bits are the same on every backend.
 */
export function groupedW4A4(pairDot: Int16Array, product: QuantizedProduct): void {
  const { w, shape, a, expertOffsets, alpha, rowScale, out } = product;
  const { n, k, parts } = shape;
  const kSf = k / 16;
  let start = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    for (let c = 0; c < n && end > start; c++) {
      const row = e * n + c;
      const scale = alpha[e * parts + Math.floor((c * parts) / n)]!;
      for (let r = start; r < end; r++) {
        const acc = rowDot(pairDot, a, r, w, row, kSf);
        const result = Math.fround(scale * acc);
        out[r * n + c] = rowScale === null ? result : Math.fround(result * rowScale[r]!);
      }
    }
    start = end;
  }
}

/** Values of the low and the high code of each byte. */
const LOW_VALUE = Float32Array.from({ length: 256 }, (_, byte) => E2M1_VALUES[byte & 15]!);
const HIGH_VALUE = Float32Array.from({ length: 256 }, (_, byte) => E2M1_VALUES[byte >> 4]!);

/** Decodes one row of codes and block scales (no global scale) to float32, exactly. */
export function decodeNvfp4Row(w: Nvfp4Storage, row: number, k: number, out: Float32Array): void {
  const { codes, sf } = w;
  const kSf = k / 16;
  let c = (row * k) / 2;
  let o = 0;
  for (let s = row * kSf; s < (row + 1) * kSf; s++) {
    const scale = E4M3_VALUES[sf[s]!]!;
    for (let i = 0; i < 8; i++) {
      const byte = codes[c++]!;
      out[o++] = LOW_VALUE[byte]! * scale;
      out[o++] = HIGH_VALUE[byte]! * scale;
    }
  }
}
