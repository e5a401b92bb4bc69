/** Attention of a layer over a whole history: dense, masked, with a sink. K and V are one tensor. */
import { checkInteger, checkMultiple, checkNumber } from '@megamoe/core';
import { result, takeNumbers, takeSizes } from './arguments';
import { toFloat64, type Numbers } from './numbers';

/** Arguments of {@link attend}. */
export interface Attention {
  /** Queries, at positions firstPosition, firstPosition + 1, ... */
  readonly n: number;
  readonly firstPosition: number;
  readonly heads: number;
  readonly d: number;
  /** [firstPosition + N, D] keys = values of all tokens from position 0 on, after RoPE. */
  readonly kv: Numbers;
  /** Query t sees the tokens s with `t - window < s <= t`. */
  readonly window: number;
  /** [entries, D] compressed keys = values, after RoPE. */
  readonly compressed?: Numbers;
  /** [N, entries] u8 from `visibleSet`. */
  readonly visible?: ArrayLike<number>;
  /** [heads] one more logit in the denominator only, not scaled; -Infinity takes no part, +Infinity makes the output 0. */
  readonly sinks: Numbers;
  readonly softmaxScale: number;
}

/** Attention of `q` [N, heads, D] (after RoPE), [N, heads, D]. The output's rotation is not undone here: see `applyRope`. */
export function attend(q: Numbers, args: Attention): Float64Array {
  const fn = 'attend';
  const { n, firstPosition, heads, d } = takeSizes(fn, 'args', args, 'n', 'firstPosition', 'heads', 'd');
  const { window, softmaxScale, kv, compressed = [], visible: seen = [], sinks: logits } = args;
  checkInteger(fn, 'd', d, 1);
  checkInteger(fn, 'window', window, 1);
  checkNumber(fn, 'softmaxScale', softmaxScale);
  const qs = toFloat64(takeNumbers(fn, 'q', q, ['N*heads*D', n * heads * d]));
  const tokens = toFloat64(takeNumbers(fn, 'kv', kv, ['(firstPosition+N)*D', (firstPosition + n) * d]));
  const pooled = toFloat64(takeNumbers(fn, 'compressed', compressed));
  checkMultiple(fn, 'compressed.length', pooled.length, d);
  const entries = pooled.length / d;
  const visible = takeNumbers(fn, 'visible', seen, ['N*entries', n * entries]);
  const sinks = takeNumbers(fn, 'sinks', logits, ['heads', heads]);
  const out = result(fn, 'N*heads*D', n * heads * d);
  for (let row = 0; row < n; row++) {
    const t = firstPosition + row;
    const keys: Float64Array[] = [];
    for (let s = Math.max(0, t - window + 1); s <= t; s++) keys.push(tokens.subarray(s * d, (s + 1) * d));
    for (let w = 0; w < entries; w++) if (visible[row * entries + w]) keys.push(pooled.subarray(w * d, (w + 1) * d));
    for (let h = 0; h < heads; h++) {
      const at = (row * heads + h) * d;
      attendOne(qs.subarray(at, at + d), keys, sinks[h]!, softmaxScale, out.subarray(at, at + d));
    }
  }
  return out;
}

/** `out = sum_i p_i keys_i` with `p_i = exp(l_i) / (exp(sink) + sum exp(l))`, `l_i = scale * q . keys_i`. */
function attendOne(q: Float64Array, keys: Float64Array[], sink: number, scale: number, out: Float64Array): void {
  if (sink === Infinity) return; // all weight on the sink
  const logits = keys.map((key) => {
    let dot = 0;
    for (let c = 0; c < q.length; c++) dot += q[c]! * key[c]!;
    return dot * scale;
  });
  const max = logits.reduce((a, b) => Math.max(a, b), sink);
  const denominator = logits.reduce((sum, l) => sum + Math.exp(l - max), Math.exp(sink - max));
  keys.forEach((key, i) => {
    const p = Math.exp(logits[i]! - max) / denominator;
    for (let c = 0; c < q.length; c++) out[c]! += p * key[c]!;
  });
}
