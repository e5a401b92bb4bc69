/**
 * The layer as the formulas read, in float64 over whole sequences with a dense mask: no pages, no chunks, no running softmax, no
 * gather. Shares no code with what it judges.
 */
import { EPS } from './layer-run';
import type { Projections, Tokens, Weights } from './layer-run';

type Matrix = number[][];

function rows(data: Float32Array, width: number): Matrix {
  return Array.from({ length: data.length / width }, (_, r) => Array.from(data.subarray(r * width, (r + 1) * width)));
}

function rotate(x: number[], invFreq: Float32Array, position: number): number[] {
  const y = [...x];
  const start = x.length - 2 * invFreq.length;
  invFreq.forEach((f, i) => {
    const [e, o] = [x[start + 2 * i]!, x[start + 2 * i + 1]!];
    const angle = position * f;
    y[start + 2 * i] = e * Math.cos(angle) - o * Math.sin(angle);
    y[start + 2 * i + 1] = o * Math.cos(angle) + e * Math.sin(angle);
  });
  return y;
}

function softmax(x: number[]): number[] {
  const top = Math.max(...x);
  const e = x.map((v) => Math.exp(v - top));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

const dot = (a: number[], b: number[]): number => a.reduce((s, v, i) => s + v * b[i]!, 0);

/** Every entry of a compressor. */
export function compressAll(inputs: Tokens, p: Projections, weights: Weights): Matrix {
  const { ratio } = inputs.layer.spec;
  const dim = weights.norm.length;
  const width = ratio === 4 ? 2 * dim : dim;
  const kv = rows(p.kv, width);
  const gate = rows(p.gate, width).map((g, t) => g.map((v, c) => v + weights.ape[(t % ratio) * width + c]!));
  return Array.from({ length: Math.floor(inputs.tokens / ratio) }, (_, w) => {
    const pooled = Array.from({ length: dim }, (_, c) => {
      const candidates: { v: number; g: number }[] = [];
      if (ratio === 4 && w > 0) {
        for (let t = (w - 1) * 4; t < w * 4; t++) candidates.push({ v: kv[t]![c]!, g: gate[t]![c]! });
      }
      const channel = ratio === 4 ? dim + c : c;
      for (let t = w * ratio; t < (w + 1) * ratio; t++) candidates.push({ v: kv[t]![channel]!, g: gate[t]![channel]! });
      const shares = softmax(candidates.map((x) => x.g));
      return candidates.reduce((s, x, j) => s + x.v * shares[j]!, 0);
    });
    const rms = Math.sqrt(dot(pooled, pooled) / dim + EPS);
    return rotate(
      pooled.map((v, c) => (v / rms) * weights.norm[c]!),
      inputs.layer.rope.invFreq,
      w * ratio,
    );
  });
}

/** Indexer scores of the query at `t` against every entry. */
export function indexScores(inputs: Tokens, keys: Matrix, t: number): number[] {
  const { indexHeads: heads, indexer } = inputs.layer;
  const dim = indexer.norm.length;
  const q = rows(inputs.indexQ, dim);
  return keys.map((k) => {
    let sum = 0;
    for (let h = 0; h < heads; h++) {
      sum += Math.max(dot(q[t * heads + h]!, k), 0) * dim ** -0.5 * inputs.indexWeights[t * heads + h]! * heads ** -0.5;
    }
    return sum;
  });
}

/** Keys of every query, named as in layer-run, and attention over them. */
export function attendAll(inputs: Tokens): { keys: Set<string>[]; out: number[] } {
  const { tokens, layer } = inputs;
  const { spec, heads, topk } = layer;
  const raw = rows(inputs.kv, spec.headDim);
  const q = rows(inputs.q, spec.headDim);
  const entries = spec.ratio === 0 ? [] : compressAll(inputs, inputs.compressor, layer.compressor);
  const indexKeys = spec.ratio === 4 ? compressAll(inputs, inputs.indexer, layer.indexer) : [];
  const keys: Set<string>[] = [];
  const out: number[] = [];
  for (let t = 0; t < tokens; t++) {
    // The newest entry a query may see is one whose last token is the query itself or earlier.
    let chosen = entries.map((_, w) => w).filter((w) => (w + 1) * spec.ratio - 1 <= t);
    if (spec.ratio === 4) {
      const s = indexScores(inputs, indexKeys, t);
      chosen = chosen.sort((a, b) => s[b]! - s[a]! || a - b).slice(0, topk);
    }
    const near = raw.map((_, p) => p).filter((p) => p <= t && t - p < spec.window);
    keys.push(new Set([...near.map((p) => `k${p}`), ...chosen.map((w) => `e${w}`)]));
    const rowsOf = [...near.map((p) => raw[p]!), ...chosen.map((w) => entries[w]!)];
    for (let h = 0; h < heads; h++) {
      const sink = layer.sinks[h]!;
      if (sink === Infinity) {
        out.push(...raw[0]!.map(() => 0));
        continue;
      }
      const weights = softmax([...rowsOf.map((k) => dot(q[t * heads + h]!, k) * layer.scale), sink]);
      out.push(...raw[0]!.map((_, i) => rowsOf.reduce((s, k, j) => s + weights[j]! * k[i]!, 0)));
    }
  }
  return { keys, out };
}
