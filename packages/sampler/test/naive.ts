import { philox4x32, type SamplingParams } from '../src/index';

const f = Math.fround;

/** One sequence as the naive implementation sees it. */
export interface NaiveState {
  readonly params: SamplingParams;
  readonly promptIds: readonly number[];
  readonly outputIds: readonly number[];
  readonly stopIds: readonly number[];
}

/** vLLM's steps up to the penalties, written for reading: arrays, sorts and rescans. */
export function naivePenalties(logits: Float32Array, { params, promptIds, outputIds, stopIds }: NaiveState): number[] {
  const past = [...promptIds, ...outputIds];
  let x = [...logits];
  if (params.allowedTokenIds) x = x.map((v, id) => (params.allowedTokenIds!.includes(id) ? v : -Infinity));
  for (const word of params.badWords ?? []) {
    const prefix = word.slice(0, -1);
    const tail = prefix.length === 0 ? [] : outputIds.slice(-prefix.length);
    if (tail.length === prefix.length && tail.every((id, i) => id === prefix[i])) x[word.at(-1)!] = -Infinity;
  }
  if (outputIds.length < (params.minTokens ?? 0)) for (const id of stopIds) x[id] = -Infinity;
  for (const [id, bias] of params.logitBias ?? []) x[id] = f(x[id]! + f(bias));
  const repetition = f(params.repetitionPenalty ?? 1);
  return x.map((v, id) => {
    const count = outputIds.filter((o) => o === id).length;
    if (past.includes(id)) v = f(v > 0 ? v / repetition : v * repetition);
    v = f(v - f(f(params.frequencyPenalty ?? 0) * count));
    return count > 0 ? f(v - f(params.presencePenalty ?? 0)) : v;
  });
}

/** The steps after the penalties, by full sorts. */
export function naiveTruncation(penalized: readonly number[], params: SamplingParams): number[] {
  const temperature = f(Math.max(params.temperature ?? 1, 0.01));
  let x = penalized.map((v) => f(v / temperature));
  const max = x.reduce((a, b) => Math.max(a, b), -Infinity);
  if (params.minP) x = x.map((v) => (Math.exp(v - max) < params.minP! ? -Infinity : v));
  if (params.topK && params.topK > 0 && params.topK < x.length) {
    const kth = [...x].sort((a, b) => b - a)[params.topK - 1]!;
    x = x.map((v) => (v < kth ? -Infinity : v));
  }
  if (params.topP !== undefined && params.topP < 1) {
    const order = x.map((_, id) => id).sort((a, b) => (x[a] === x[b] ? b - a : x[a]! - x[b]!));
    const total = x.reduce((sum, v) => sum + Math.exp(v - max), 0);
    let cumulative = 0;
    for (const id of order.slice(0, -1)) {
      cumulative += Math.exp(x[id]! - max);
      if (!(f(cumulative / total) <= f(1 - f(params.topP)))) break;
      x[id] = -Infinity;
    }
  }
  return x;
}

/** argmax(p / q), every p and every q computed. */
export function naiveDraw(x: readonly number[], seed: number, sequence: number, position: number): number {
  const max = x.reduce((a, b) => Math.max(a, b), -Infinity);
  const words = new Uint32Array(4);
  let winner = -1;
  let best = -1;
  x.forEach((v, id) => {
    philox4x32(Math.floor(id / 4), position, sequence, 0, seed % 2 ** 32, Math.floor(seed / 2 ** 32), words);
    const score = Math.exp(v - max) / -Math.log((words[id % 4]! + 0.5) / 2 ** 32);
    if (score > best) [winner, best] = [id, score];
  });
  return winner;
}
