/** Compressed entries of a whole history at once: no state, no partial windows (docs/formats.md D5, D6). */
import { checkInteger, checkNumber } from '@megamoe/core';
import { result, takeNumbers, takeSizes } from './arguments';
import { rmsNorm } from './norm';
import type { Numbers } from './numbers';
import { applyRope } from './rope';

/** Arguments of {@link compress}. */
export interface Compression {
  /** Tokens of the history, positions 0 to tokens-1. */
  readonly tokens: number;
  /** Tokens per entry: 4 (CSA) or 128 (HCA). */
  readonly ratio: number;
  /** Width of an entry. */
  readonly dim: number;
  /**
   * CSA: kv and gate are 2*dim wide, an entry pools the previous window through the first half of the channels and its own window
   * through the second half. HCA: dim wide, its own window only.
   */
  readonly overlapping: boolean;
  /** [ratio, width] added to the gate by place in the window. */
  readonly ape: Numbers;
  /** [dim] weight of the RMS norm. */
  readonly norm: Numbers;
  readonly rmsNormEps: number;
  /** From `ropeFrequencies` (compressed layers: with YaRN); the entry of window w stands at position w*ratio. */
  readonly frequencies: Numbers;
}

/**
 * Entries [floor(tokens/ratio), dim] from the projections `kv` and `gate` [tokens, width]: per channel, the softmax of gate + ape over
 * the candidates weighs their kv; then RMS norm, then RoPE. Tokens of an unfinished window are left out.
 */
export function compress(values: Numbers, gates: Numbers, args: Compression): Float64Array {
  const fn = 'compress';
  const { tokens, ratio, dim } = takeSizes(fn, 'args', args, 'tokens', 'ratio', 'dim');
  const { overlapping, rmsNormEps, ape: byPlace, norm: weight, frequencies: turns } = args;
  const width = overlapping ? 2 * dim : dim;
  checkInteger(fn, 'ratio', ratio, 1);
  checkInteger(fn, 'dim', dim, 1);
  checkNumber(fn, 'rmsNormEps', rmsNormEps, 0);
  const kv = takeNumbers(fn, 'kv', values, ['tokens*width', tokens * width]);
  const gate = takeNumbers(fn, 'gate', gates, ['tokens*width', tokens * width]);
  const ape = takeNumbers(fn, 'ape', byPlace, ['ratio*width', ratio * width]);
  const norm = takeNumbers(fn, 'norm', weight, ['dim', dim]);
  const frequencies = takeNumbers(fn, 'frequencies', turns);
  checkInteger(fn, 'ropeDim', 2 * frequencies.length, 0, dim);
  const entries = Math.floor(tokens / ratio);
  const pooled = result(fn, 'entries*dim', entries * dim);
  for (let w = 0; w < entries; w++) {
    for (let c = 0; c < dim; c++) {
      const values: number[] = [];
      const logits: number[] = [];
      const candidates = (window: number, channel: number): void => {
        for (let j = 0; j < ratio; j++) {
          values.push(kv[(window * ratio + j) * width + channel]!);
          logits.push(gate[(window * ratio + j) * width + channel]! + ape[j * width + channel]!);
        }
      };
      if (overlapping && w > 0) candidates(w - 1, c);
      candidates(w, overlapping ? dim + c : c);
      pooled[w * dim + c] = softmaxMean(values, logits);
    }
  }
  const normed = rmsNorm(pooled, norm, { m: entries, d: dim, eps: rmsNormEps });
  const positions = Array.from({ length: entries }, (_, w) => w * ratio);
  return applyRope(normed, { positions, heads: 1, d: dim, frequencies });
}

/** `sum_i softmax(logits)_i * values_i`. */
function softmaxMean(values: number[], logits: number[]): number {
  const max = Math.max(...logits);
  let sum = 0;
  let weighted = 0;
  for (let i = 0; i < values.length; i++) {
    const e = Math.exp(logits[i]! - max);
    sum += e;
    weighted += e * values[i]!;
  }
  return weighted / sum;
}
