import { KindError, ValueError } from '@megamoe/core';
import { arrayChecks, MIN_GLOBAL_DECODE_SCALE, type ExpertsShape } from '@megamoe/ops';

/** Checks of typed arrays for functions outside the list. */
export const ARRAYS = arrayChecks((fn, arg) => {
  throw new KindError(`${fn}: "${arg}" cannot be a handle here`);
});

/** Throws unless experts of a format get the alpha that they need: finite for every expert that has rows, null where there are no scales. */
export function checkAlpha(
  fn: string,
  { format, parts }: ExpertsShape,
  alpha: Float32Array | null,
  expertOffsets: Int32Array,
): void {
  if (format !== 'nvfp4') {
    if (alpha !== null) throw new ValueError(`${fn}: "alpha" must be null for ${format} weights`);
    return;
  }
  if (alpha === null) throw new KindError(`${fn}: "alpha" must be a Float32Array for nvfp4 weights, got null`);
  let start = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    if (end > start) {
      for (let p = 0; p < parts; p++) {
        const a = alpha[e * parts + p]!;
        if (!Number.isFinite(a))
          throw new ValueError(
            `${fn}: "alpha" of expert ${e}, part ${p} must be finite, got ${a} at index ${e * parts + p}`,
          );
      }
    }
    start = end;
  }
}

/** Throws unless `globalDecodeScale[e]` is usable for every expert that has rows. */
export function checkGlobalScales(fn: string, scales: Float32Array, expertOffsets: Int32Array): void {
  let start = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    const g = scales[e]!;
    if (end > start && !(g >= MIN_GLOBAL_DECODE_SCALE && g < Infinity))
      throw new ValueError(`${fn}: "globalDecodeScale" of expert ${e} must be finite and at least 2^-117, got ${g}`);
    start = end;
  }
}

/** Throws unless the first `n` entries of `rowScale` are finite. */
export function checkRowScale(fn: string, rowScale: Float32Array, n: number): void {
  for (let r = 0; r < n; r++) {
    if (!Number.isFinite(rowScale[r]!))
      throw new ValueError(`${fn}: "rowScale" must be finite, got ${rowScale[r]} at index ${r}`);
  }
}

/** The error for a NaN or infinity found while staging. */
export function notFinite(fn: string, x: Float32Array, index: number): ValueError {
  return new ValueError(`${fn}: "x" must be finite for inputs "nvfp4", got ${x[index]} at index ${index}`);
}

/** The error for a SwiGLU that is NaN or infinite, found while staging: `index` counts in [R, i]. */
export function swigluNotFinite(fn: string, i: number, index: number): ValueError {
  const at = `row ${Math.floor(index / i)}, column ${index % i}`;
  return new ValueError(`${fn}: the SwiGLU of "gateUp" must be finite, got NaN or infinity at ${at}`);
}
