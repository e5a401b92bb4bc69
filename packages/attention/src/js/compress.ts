import { rotateRow } from './rope';

const f = Math.fround;

/**
 * Appends tokens one by one; the last of a window closes it. Nothing depends on where a call begins or ends, so any chunking gives
 * the same bits. Argument order as in Engine.compress.
 */
export function compress(
  kv: Float32Array,
  gate: Float32Array,
  row0: number,
  n: number,
  p0: number,
  ratio: number,
  dim: number,
  width: number,
  ape: Float32Array,
  norm: Float32Array,
  rmsNormEps: number,
  ropeDim: number,
  cos: Float32Array,
  sin: Float32Array,
  entries: Float32Array,
  partialKv: Float32Array,
  partialGate: Float32Array,
  overlapKv: Float32Array,
  overlapGate: Float32Array,
): void {
  const half = ropeDim / 2;
  let closed = 0;
  for (let t = 0; t < n; t++) {
    const slot = ((p0 + t) % ratio) * width;
    const row = (row0 + t) * width;
    for (let i = 0; i < width; i++) {
      partialKv[slot + i] = kv[row + i]!;
      partialGate[slot + i] = gate[row + i]! + ape[slot + i]!; // the store rounds to f32
    }
    if ((p0 + t + 1) % ratio !== 0) continue;
    const at = ((p0 + t + 1) / ratio - 1) * dim;
    // Overlapping windows: the previous window through its first half, this one through its second (docs/formats.md D6).
    poolChannels(ratio, dim, width, partialKv, partialGate, overlapKv, overlapGate, entries, at);
    normalize(entries, at, dim, norm, rmsNormEps);
    rotateRow(entries, at + dim - ropeDim, ropeDim, cos, sin, closed * half, 1);
    closed++;
    if (width === 2 * dim) keepFirstHalf(ratio, dim, partialKv, partialGate, overlapKv, overlapGate);
  }
}

/** Per channel: softmax of the gates over the window's candidates (earliest first), and the weighted sum of their values. */
function poolChannels(
  ratio: number,
  dim: number,
  width: number,
  partialKv: Float32Array,
  partialGate: Float32Array,
  overlapKv: Float32Array,
  overlapGate: Float32Array,
  entries: Float32Array,
  at: number,
): void {
  const before = width === 2 * dim ? ratio : 0;
  const shift = width - dim;
  for (let c = 0; c < dim; c++) {
    let max = -Infinity;
    for (let j = 0; j < before; j++) max = Math.max(max, overlapGate[j * dim + c]!);
    for (let j = 0; j < ratio; j++) max = Math.max(max, partialGate[j * width + shift + c]!);
    let sum = 0;
    for (let j = 0; j < before; j++) sum += f(Math.exp(f(overlapGate[j * dim + c]! - max)));
    for (let j = 0; j < ratio; j++) sum += f(Math.exp(f(partialGate[j * width + shift + c]! - max)));
    const total = f(sum);
    let pooled = 0;
    for (let j = 0; j < before; j++) {
      pooled += overlapKv[j * dim + c]! * f(f(Math.exp(f(overlapGate[j * dim + c]! - max))) / total);
    }
    for (let j = 0; j < ratio; j++) {
      const g = partialGate[j * width + shift + c]!;
      pooled += partialKv[j * width + shift + c]! * f(f(Math.exp(f(g - max))) / total);
    }
    entries[at + c] = pooled;
  }
}

/** `x * rsqrt(mean(x^2) + eps) * norm`, in place. */
function normalize(x: Float32Array, at: number, dim: number, norm: Float32Array, eps: number): void {
  let squares = 0;
  for (let i = 0; i < dim; i++) squares += x[at + i]! * x[at + i]!;
  const inverse = f(1 / Math.sqrt(f(f(squares / dim) + eps)));
  for (let i = 0; i < dim; i++) x[at + i] = f(x[at + i]! * inverse) * norm[i]!;
}

function keepFirstHalf(
  ratio: number,
  dim: number,
  partialKv: Float32Array,
  partialGate: Float32Array,
  overlapKv: Float32Array,
  overlapGate: Float32Array,
): void {
  for (let j = 0; j < ratio; j++) {
    for (let c = 0; c < dim; c++) {
      overlapKv[j * dim + c] = partialKv[j * 2 * dim + c]!;
      overlapGate[j * dim + c] = partialGate[j * 2 * dim + c]!;
    }
  }
}
