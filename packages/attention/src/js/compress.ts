import type { HostCompressorMemory } from '../cache';
import type { Own } from '../own';
import type { CompressionPlan } from '../plan/compression-plan';
import { rotateRow } from './rope';

const f = Math.fround;

/** Most candidates of an entry: 128 for ratio 128. */
const MOST_CANDIDATES = 128;

/** Where the candidates of an entry begin in the open memory. */
export type CompressScratch = Float64Array;

/** Scratch of {@link compress}. */
export function createCompressScratch(): CompressScratch {
  return new Float64Array(MOST_CANDIDATES);
}

/**
 * Keeps the projections of all rows, then closes windows one by one. Nothing depends on which rows a step has, so any chunking gives the
 * same bits.
 */
export function compress(scratch: CompressScratch, a: Own<'compress'>): void {
  const { step, layer, cache, kv, gate, width, weights, eps } = a;
  const memory = cache.compressor('compress', layer, a.indexer);
  const plan = step.compression(cache.specs[layer]!.ratio as 4 | 128);
  const openKv = memory.openKv.data;
  const openGate = memory.openGate.data;
  for (let r = 0; r < step.rows; r++) {
    const to = plan.openRow[r]! * width;
    const bias = plan.apeRow[r]! * width;
    for (let i = 0; i < width; i++) {
      openKv[to + i] = kv[r * width + i]!;
      openGate[to + i] = gate[r * width + i]! + weights.ape[bias + i]!; // the store rounds to f32
    }
  }
  const entries = memory.entries.data;
  const { dim } = memory;
  const half = plan.ropeDim / 2;
  for (let w = 0; w < plan.closed; w++) {
    const at = plan.entryRow[w]! * dim;
    const count = locate(plan, memory, w, scratch);
    poolChannels(scratch, count, dim, openKv, openGate, entries, at);
    normalize(entries, at, dim, weights.norm, eps);
    rotateRow(entries, at + dim - plan.ropeDim, plan.ropeDim, plan.cos, plan.sin, w * half, 1);
  }
}

/**
 * Where the candidates of a closing begin, earliest first. Overlapping windows: the previous window through the first half of its
 * projections, this one through its second (docs/formats.md D6). Before the first window there are none, which is weight 0.
 */
function locate(plan: CompressionPlan, { dim, width }: HostCompressorMemory, w: number, at: CompressScratch): number {
  const { candidates, candidatesPerEntry: count, ratio } = plan;
  const before = count - ratio;
  let found = 0;
  for (let j = 0; j < count; j++) {
    const row = candidates[w * count + j]!;
    if (row >= 0) at[found++] = row * width + (j < before ? 0 : width - dim);
  }
  return found;
}

/** Per channel: softmax of the gates over the candidates, and the weighted sum of their values. */
function poolChannels(
  from: CompressScratch,
  count: number,
  dim: number,
  kv: Float32Array,
  gate: Float32Array,
  entries: Float32Array,
  at: number,
): void {
  for (let c = 0; c < dim; c++) {
    let max = -Infinity;
    for (let j = 0; j < count; j++) max = Math.max(max, gate[from[j]! + c]!);
    let sum = 0;
    for (let j = 0; j < count; j++) sum += f(Math.exp(f(gate[from[j]! + c]! - max)));
    const total = f(sum);
    let pooled = 0;
    for (let j = 0; j < count; j++) {
      pooled += kv[from[j]! + c]! * f(f(Math.exp(f(gate[from[j]! + c]! - max))) / total);
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
