import { E4M3_MAX, E4M3_MIN, E4M3_VALUES, encodeE2m1, encodeE4m3 } from '@megamoe/core';
import { MIN_GLOBAL_DECODE_SCALE } from '@megamoe/ops';
import type { EngineArgs, StagedMemory } from '../engine';
import type { Nvfp4Storage } from './nvfp4';
import { swigluRow } from './rows';

/** Largest magnitude of `x[x0, x0+n)`; -1 when one of them is NaN or infinite. */
function finiteAmax(x: Float32Array, x0: number, n: number): number {
  let amax = 0;
  for (let i = 0; i < n; i++) {
    const a = Math.abs(x[x0 + i]!);
    if (!(a < Infinity)) return -1;
    if (a > amax) amax = a;
  }
  return amax;
}

/** Index of the first NaN or infinity in `x[x0, x0+n)`. */
function firstBad(x: Float32Array, x0: number, n: number): number {
  for (let i = 0; i < n; i++) if (!Number.isFinite(x[x0 + i]!)) return x0 + i;
  return -1;
}

/** What `stage` takes for inputs in NVFP4. */
export interface StageNvfp4 extends Pick<
  EngineArgs<'stage'>,
  'x' | 'k' | 'slotToken' | 'expertOffsets' | 'globalDecodeScale'
> {
  readonly staged: Pick<StagedMemory, 'codes' | 'sf' | 'rowScale'>;
}

/**
 * Quantizes k values from `x[x0]` on to row `row` with global scale `g`, by ModelOpt's rule: block scale `amax / (6*g)`, 0 -> 1, clamped to
 * [2^-9, 448], E4M3 nearest even; code E2M1 nearest even of `x / (scale*g)`; true divisions, float32 after every operation.
 * Returns -1, or the index in x of the first value that is not finite.
 */
function stageRow(x: Float32Array, x0: number, k: number, g: number, { codes, sf }: Nvfp4Storage, row: number): number {
  const c0 = (row * k) / 2;
  const s0 = (row * k) / 16;
  const sixG = Math.fround(6 * g);
  for (let b = 0; b < k; b += 16) {
    const amax = finiteAmax(x, x0 + b, 16);
    if (amax < 0) return firstBad(x, x0 + b, 16);
    let scale = Math.fround(amax / sixG);
    if (scale === 0) scale = 1;
    const byte = encodeE4m3(Math.min(Math.max(scale, E4M3_MIN), E4M3_MAX));
    sf[s0 + b / 16] = byte;
    const step = Math.fround(E4M3_VALUES[byte]! * g);
    for (let i = 0; i < 16; i += 2) {
      const lo = encodeE2m1(Math.fround(x[x0 + b + i]! / step));
      const hi = encodeE2m1(Math.fround(x[x0 + b + i + 1]! / step));
      codes[c0 + (b + i) / 2] = lo | (hi << 4);
    }
  }
  return -1;
}

/** A row's own global scale; a row too small for one gets 1. */
function ownScale(amax: number): number {
  const own = Math.fround(amax / 2688); // 6 * 448
  return own < MIN_GLOBAL_DECODE_SCALE ? 1 : own;
}

/**
 * Gathers rows (`slotToken` null: row r is token r) and quantizes them with the global scale of their expert, or with their own, which is
 * written to `rowScale`. Returns -1 or the index in x of a value that is not finite.
 */
export function stageNvfp4({ x, k, slotToken, expertOffsets, globalDecodeScale, staged }: StageNvfp4): number {
  let start = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    for (let r = start; r < end; r++) {
      const x0 = (slotToken === null ? r : slotToken[r]!) * k;
      let g: number;
      if (globalDecodeScale !== null) g = globalDecodeScale[e]!;
      else {
        const amax = finiteAmax(x, x0, k);
        if (amax < 0) return firstBad(x, x0, k);
        g = staged.rowScale[r] = ownScale(amax);
      }
      const bad = stageRow(x, x0, k, g, staged, r);
      if (bad >= 0) return bad;
    }
    start = end;
  }
  return -1;
}

/**
 * SwiGLU of rows [2*i], one after the other into `row`, and then what {@link stageNvfp4} does with them. Returns -1 or the index in [R, i] of a
 * result that is not finite.
 */
export function swigluStageNvfp4(a: EngineArgs<'swigluStage'>, row: Float32Array): number {
  const { gateUp, i, limit, expertOffsets, globalDecodeScale, staged } = a;
  let start = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    for (let r = start; r < end; r++) {
      swigluRow(gateUp, r * 2 * i, i, limit, row, 0);
      let g: number;
      if (globalDecodeScale !== null) g = globalDecodeScale[e]!;
      else {
        const amax = finiteAmax(row, 0, i);
        if (amax < 0) return r * i + firstBad(row, 0, i);
        g = staged.rowScale[r] = ownScale(amax);
      }
      const bad = stageRow(row, 0, i, g, staged, r);
      if (bad >= 0) return r * i + bad;
    }
    start = end;
  }
  return -1;
}
