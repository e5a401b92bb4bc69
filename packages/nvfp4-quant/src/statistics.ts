import { checkKind, checkLength, ShapeError, ValueError } from '@megamoe/core';
import { checkShape } from './modelopt';
import type { CodesShape } from './nibbles';

/** Counts that tell whether an NVFP4 matrix' scales were chosen well; see {@link saturationStatistics}. */
export interface SaturationStatistics {
  /** Blocks of 16 elements. */
  readonly blocks: number;
  /**
   * Block scales at 448, the largest: many of them mean that the global scale is too small (wrong calibration) and values are
   * cut off.
   */
  readonly saturatedScales: number;
  /** Block scales at 2^-9, the smallest: the block lies too far below the rest. */
  readonly minimumScales: number;
  /** Block scales that are zero: everything in the block decodes to zero. */
  readonly zeroScales: number;
  /** Block scales that are NaN: a damaged tensor. */
  readonly nanScales: number;
  /** Block scales with the sign bit set (-0 and NaN left out): no quantizer writes them. */
  readonly negativeScales: number;
  /** Blocks whose 16 codes are all zero. */
  readonly zeroBlocks: number;
  /** Codes, `m * k`. */
  readonly codes: number;
  /** Codes at +6 or -6. One per block is normal (its amax), most of a block is not. */
  readonly maxCodes: number;
  /** Codes that are zero, of either sign. */
  readonly zeroCodes: number;
}

/** Zero codes of a byte, and 256 times its codes at the end of the range. */
const CODES = Uint16Array.from({ length: 256 }, (_, pair) => {
  const magnitudes = [pair & 7, (pair >> 4) & 7];
  return magnitudes.filter((m) => m === 0).length + 256 * magnitudes.filter((m) => m === 7).length;
});

/**
 * Counts saturated, minimal, zero and NaN block scales and codes at the ends of the range.
 * @param codes [M, K/2]  u8, two E2M1 codes a byte
 * @param sf    [M, K/16] E4M3 bytes, linear
 */
export function saturationStatistics(codes: Uint8Array, sf: Uint8Array, shape: CodesShape): SaturationStatistics {
  const { m, k } = checkShape('saturationStatistics', shape, 16);
  checkKind('saturationStatistics', 'codes', codes, Uint8Array);
  checkKind('saturationStatistics', 'sf', sf, Uint8Array);
  checkLength('saturationStatistics', 'codes', codes, 'M*K/2', (m * k) / 2);
  checkLength('saturationStatistics', 'sf', sf, 'M*K/16', (m * k) / 16);
  let [saturatedScales, minimumScales, zeroScales, nanScales, negativeScales] = [0, 0, 0, 0, 0];
  let [zeroBlocks, maxCodes, zeroCodes] = [0, 0, 0];
  for (let b = 0; b < sf.length; b++) {
    const scale = sf[b]! & 0x7f;
    if (scale === 0x7f) nanScales++;
    else if (scale === 0) zeroScales++;
    else {
      if (scale === 0x7e) saturatedScales++;
      if (scale === 1) minimumScales++;
      if (sf[b]! & 0x80) negativeScales++;
    }
    let counts = 0;
    for (let i = b * 8; i < b * 8 + 8; i++) counts += CODES[codes[i]!]!;
    const zeros = counts & 255;
    maxCodes += counts >> 8;
    zeroCodes += zeros;
    if (zeros === 16) zeroBlocks++;
  }
  return {
    blocks: sf.length,
    saturatedScales,
    minimumScales,
    zeroScales,
    nanScales,
    negativeScales,
    zeroBlocks,
    codes: m * k,
    maxCodes,
    zeroCodes,
  };
}

/** How far a quantized matrix is from its source; see {@link quantizationError}. */
export interface QuantizationError {
  /**
   * `||got - want|| / ||want||`, Euclidean; 0 when both are zero, infinite when only `want` is. NVFP4 of normal data gives
   * about 0.095.
   */
  readonly relative: number;
  /** Cosine of the angle between them; 1 when both are zero, 0 when one is. */
  readonly cosine: number;
  /** Largest absolute difference. */
  readonly maxAbs: number;
  /** Index of that difference (the first one); 0 for empty arrays. */
  readonly maxAbsAt: number;
}

/**
 * Compares dequantized values with their source, in float64. Throws `ShapeError` when the lengths differ, `ValueError` naming
 * the index of a NaN or infinity.
 * @param got  [n] f32, dequantized
 * @param want [n] f32, before quantization
 */
export function quantizationError(got: Float32Array, want: Float32Array): QuantizationError {
  checkKind('quantizationError', 'got', got, Float32Array);
  checkKind('quantizationError', 'want', want, Float32Array);
  if (got.length !== want.length) {
    throw new ShapeError(`quantizationError: "got" must have length want.length = ${want.length}, got ${got.length}`);
  }
  let [error, gotPower, wantPower, product, maxAbs, maxAbsAt] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < want.length; i++) {
    const g = got[i]!;
    const w = want[i]!;
    const d = Math.abs(g - w);
    if (!Number.isFinite(d)) {
      const name = Number.isFinite(g) ? 'want' : 'got';
      throw new ValueError(`quantizationError: "${name}" must be finite, got ${name === 'got' ? g : w} at index ${i}`);
    }
    if (d > maxAbs) [maxAbs, maxAbsAt] = [d, i];
    error += d * d;
    gotPower += g * g;
    wantPower += w * w;
    product += g * w;
  }
  const norm = Math.sqrt(gotPower) * Math.sqrt(wantPower);
  return {
    relative: error === 0 ? 0 : Math.sqrt(error) / Math.sqrt(wantPower),
    cosine: norm > 0 ? product / norm : gotPower === wantPower ? 1 : 0,
    maxAbs,
    maxAbsAt,
  };
}
