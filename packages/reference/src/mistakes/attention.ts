/** `attention`: sliding window, compressed entries, sink, rotation back. */
import { UNIT, type Prediction } from './compare';
import type { DumpReader } from './dump';
import { levelsOf, roundAt, roundedInput, spreadOf, type Level, type Point } from './levels';
import { dot, norm } from './nibbles';
import { floatProblem, type FloatCandidate } from './problem';
import { frequenciesOf, turnRow, type Turn } from './rope';
import type { Sample } from './sample';
import type { Problem } from './types';

/** A way of kernels to round the softmax weights. */
interface WeightPoint extends Point {
  /** Rounded as `exp(logit - max)`, and divided by the denominator afterwards. */
  readonly before?: boolean;
  /** The sink counts in that maximum. */
  readonly sinkInMax?: boolean;
  /** The denominator is the sum of what was rounded. */
  readonly summed?: boolean;
}

const WEIGHTS: readonly WeightPoint[] = [
  { id: 'p', text: 'P' },
  { id: 'p-before', text: 'P before normalisation', before: true },
  { id: 'p-before-sink', text: 'P before normalisation (the sink in its maximum)', before: true, sinkInMax: true },
  { id: 'p-summed', text: 'P before its sum and normalisation', before: true, summed: true },
  {
    id: 'p-summed-sink',
    text: 'P before its sum and normalisation (the sink in its maximum)',
    ...{ before: true, sinkInMax: true, summed: true },
  },
];
const OUTPUT: Point = { id: 'o', text: 'the output before its rotation back' };
const INPUTS: Point = { id: 'qkv', text: 'Q, K and V' };
const LEVELS = levelsOf([WEIGHTS, [OUTPUT], [INPUTS]], ['p', 'o']);

/** A reading of attention, right or not. */
interface Variant {
  /** Tokens seen, more or less than `window`. */
  readonly extra: -1 | 0 | 1;
  /** Whether position t attends to compressed entry w. */
  readonly sees: (t: number, w: number) => boolean;
  readonly sink: (sink: number) => number;
  /** How the output is turned back; by its key: each value before it is summed. */
  readonly back: Turn | 'by-key' | undefined;
}

interface Inputs {
  readonly heads: number;
  readonly d: number;
  readonly window: number;
  readonly scale: number;
  readonly q: Float32Array;
  readonly kv: readonly Float64Array[];
  readonly compressed: readonly Float64Array[];
  readonly sinks: Float32Array;
  /** kv and compressed with each row turned back by its own position. */
  readonly turned: () => { kv: readonly Float64Array[]; compressed: readonly Float64Array[] };
}

/** Logits of one (position, head) with all keys that any variant may see: window + 1 tokens, and every compressed entry. */
interface Logits {
  readonly first: number;
  readonly tokens: Float64Array;
  readonly entries: Float64Array;
  /** Largest `scale * |q| * |k|`. */
  readonly size: number;
}

const CACHED_NUMBERS = 2e7;

/** Computes rows (position, head) of variants; logits are shared. */
class Rows {
  readonly #known = new Map<number, Logits>();
  readonly #kvNorms: Float64Array;
  readonly #entryNorms: Float64Array;
  #cached = 0;

  constructor(readonly inputs: Inputs) {
    this.#kvNorms = Float64Array.from(inputs.kv, norm);
    this.#entryNorms = Float64Array.from(inputs.compressed, norm);
  }

  #logits(row: number): Logits {
    const known = this.#known.get(row);
    if (known) return known;
    const { heads, d, window, scale, q, kv, compressed } = this.inputs;
    const t = Math.floor(row / heads);
    const query = Float64Array.from(q.subarray(row * d, (row + 1) * d));
    const length = norm(query) * Math.abs(scale);
    const first = Math.max(0, t - window);
    let size = 0;
    const tokens = Float64Array.from({ length: t + 1 - first }, (_, i) => {
      size = Math.max(size, length * this.#kvNorms[first + i]!);
      return scale * dot(query, kv[first + i]!);
    });
    const entries = Float64Array.from(compressed, (key, w) => {
      size = Math.max(size, length * this.#entryNorms[w]!);
      return scale * dot(query, key);
    });
    const logits = { first, tokens, entries, size };
    this.#cached += tokens.length + entries.length;
    if (this.#cached < CACHED_NUMBERS) this.#known.set(row, logits);
    return logits;
  }

  predict(variant: Variant, level: Level, { rows, columns }: Sample): Prediction {
    const { d } = this.inputs;
    const want = new Float64Array(rows.length * columns.length);
    const noise = new Float64Array(want.length);
    const out = new Float64Array(d);
    const error = new Float64Array(d);
    rows.forEach((row, i) => {
      this.#row(row, variant, level, out, error);
      columns.forEach((c, j) => {
        want[i * columns.length + j] = out[c]!;
        noise[i * columns.length + j] = error[c]!;
      });
    });
    return { want, noise };
  }

  #row(row: number, variant: Variant, level: Level, out: Float64Array, error: Float64Array): void {
    const { extra, sees, sink, back } = variant;
    const { heads, d, window, sinks } = this.inputs;
    const { kv, compressed } = back === 'by-key' ? this.inputs.turned() : this.inputs;
    const t = Math.floor(row / heads);
    const { first, tokens, entries, size } = this.#logits(row);
    out.fill(0);
    error.fill(0);
    const sinkLogit = sink(sinks[row % heads]!);
    if (sinkLogit === Infinity) return; // all weight on the sink
    const keys: Float64Array[] = [];
    const logits: number[] = [];
    for (let s = Math.max(0, t + 1 - window - extra); s <= t; s++) {
      keys.push(kv[s]!);
      logits.push(tokens[s - first]!);
    }
    for (let w = 0; w < entries.length; w++) {
      if (!sees(t, w)) continue;
      keys.push(compressed[w]!);
      logits.push(entries[w]!);
    }
    if (keys.length === 0) return;
    const { before, sinkInMax = false, summed } = WEIGHTS.find(({ id }) => level.exact.has(id)) ?? {};
    const max = logits.reduce((a, b) => Math.max(a, b), before && !sinkInMax ? -Infinity : sinkLogit);
    const ofLogits = 2 * (4 + Math.sqrt(d) / 4) * size + 2 * Math.abs(max);
    const weights = Float64Array.from(logits, (l) => Math.exp(l - max));
    const moves = weights.map((p) => p * UNIT * (4 + ofLogits));
    const sum = (): number => weights.reduce((a, p) => a + p, Math.exp(sinkLogit - max));
    let denominator = sum();
    const point = (id: string): boolean => roundAt(level, id, weights, moves);
    const normalise = (): void => {
      for (let n = 0; n < weights.length; n++) {
        weights[n]! /= denominator;
        moves[n]! /= denominator;
      }
    };
    const roundedBefore = WEIGHTS.filter((w) => w.before).some(({ id }) => point(id));
    if (summed) denominator = sum();
    normalise();
    const rounded = point('p') || roundedBefore;
    const squares = new Float64Array(d);
    const sums = new Float64Array(d);
    keys.forEach((key, n) => {
      const [p, move] = [weights[n]!, moves[n]!];
      for (let c = 0; c < d; c++) {
        const term = p * key[c]!;
        out[c]! += term;
        error[c]! += Math.abs(term);
      }
      if (!rounded || move === 0) return;
      for (let c = 0; c < d; c++) {
        const by = Math.abs(move * key[c]!);
        sums[c]! += by;
        squares[c]! += by * by;
      }
    });
    const relative = UNIT * (12 + Math.sqrt(keys.length) / 4 + ofLogits);
    for (let c = 0; c < d; c++) error[c] = error[c]! * relative + spreadOf(sums[c]!, squares[c]!);
    if (summed) addDenominator(moves, out, error);
    if (back !== 'by-key') roundAt(level, 'o', out, error);
    if (back !== undefined && back !== 'by-key') turnRow(out, error, t, back);
  }
}

/** The denominator moves with the weights that it sums. */
function addDenominator(moves: Float64Array, out: Float64Array, error: Float64Array): void {
  const moved = moves.reduce((a, b) => a + b, 0);
  for (let c = 0; c < out.length; c++) error[c]! += moved * Math.abs(out[c]!);
}

/** Rows of a matrix, as float64. */
function rowsOf(x: Float32Array, d: number): Float64Array[] {
  return Array.from({ length: x.length / d }, (_, r) => Float64Array.from(x.subarray(r * d, (r + 1) * d)));
}

/** Reads an `attention` dump. */
export function ATTENTION(reader: DumpReader): Problem {
  const ratio = reader.number('ratio', { min: 0, integer: true });
  const window = reader.number('window', { min: 1, integer: true });
  const scale = reader.number('scale');
  const q = reader.floats('in.q', ['S', 'H', 'D']).data;
  const [s, heads, d] = [reader.size('S'), reader.size('H'), reader.size('D')];
  const kv = reader.floats('in.kv', ['S', 'D']).data;
  const hasEntries = reader.has('in.kv_comp');
  const compressed = hasEntries ? reader.floats('in.kv_comp', ['C', 'D']).data : new Float32Array();
  const c = hasEntries ? reader.size('C') : 0;
  if (ratio === 0 && c > 0) throw reader.fail(`expected no compressed entries with ratio 0, found ${c}`, 'in.kv_comp');
  const sinks = reader.floats('in.sinks', ['H'], 'infinite').data;
  const selected = reader.has('in.selected') ? reader.bytes('in.selected', [s, c]) : undefined;
  const output = reader.floats('out', ['S', 'H', 'D'], 'anything');
  const frequencies = frequenciesOf(reader, ratio > 0, d);

  const turn = (change: Partial<Turn> = {}): Turn => ({
    frequencies: frequencies.right,
    direction: -1,
    pairs: 'interleaved',
    leading: false,
    ...change,
  });
  const turnedBack = (rows: readonly Float64Array[], step: number): Float64Array[] =>
    rows.map((row, i) => {
      const out = row.slice();
      turnRow(out, new Float64Array(d), i * step, turn());
      return out;
    });
  const made = new Map<string, Rows>();
  /** Rows of the inputs as `level` has them. */
  const rowsAt = (level: Level): Rows => {
    const key = level.exact.has(INPUTS.id) ? level.dtype : 'given';
    let rows = made.get(key);
    if (!rows) {
      const at = (x: Float32Array): Float64Array[] => rowsOf(roundedInput(level, INPUTS.id, x), d);
      const [k, entries] = [at(kv), at(compressed)];
      let turned: ReturnType<Inputs['turned']> | undefined;
      made.set(
        key,
        (rows = new Rows({
          ...{ heads, d, window, scale, sinks },
          q: roundedInput(level, INPUTS.id, q),
          kv: k,
          compressed: entries,
          turned: () => (turned ??= { kv: turnedBack(k, 1), compressed: turnedBack(entries, ratio) }),
        })),
      );
    }
    return rows;
  };

  const chosen = (t: number, w: number): boolean => selected === undefined || selected[t * c + w] !== 0;
  const limit = (t: number): number => Math.floor((t + 1) / ratio);
  const right: Variant = {
    extra: 0,
    sees: (t, w) => w < limit(t) && chosen(t, w),
    sink: (x) => x,
    back: turn(),
  };
  const newest = (t: number): number => {
    for (let w = Math.min(limit(t), c) - 1; w >= 0; w--) if (chosen(t, w)) return w;
    return -1;
  };
  const candidates: FloatCandidate[] = [];
  const add = (id: string, change: Partial<Variant>, rank: 0 | 1 = 0, reading = ''): void =>
    void candidates.push({
      ...{ id, rank, reading },
      predict: (sample, level) => rowsAt(level).predict({ ...right, ...change }, level, sample),
    });
  if (c > 0) {
    add('attention-own-block-visible', { sees: (t, w) => w <= limit(t) && chosen(t, w) });
    add('attention-newest-block-missing', { sees: (t, w) => w < limit(t) - 1 && chosen(t, w) });
    add(
      'attention-newest-block-missing',
      { sees: (t, w) => w < Math.floor(t / ratio) && chosen(t, w) },
      1,
      'Until the next token',
    );
    add('attention-compressed-ignored', { sees: () => false });
    add('attention-future-visible', { sees: chosen });
    if (selected) {
      const own: Variant['sees'] = (t, w) => (w < limit(t) && chosen(t, w)) || w === limit(t);
      add('attention-own-block-visible', { sees: own }, 1, 'The own block beside the selected ones');
      const dropped: Variant['sees'] = (t, w) => right.sees(t, w) && w !== newest(t);
      add('attention-newest-block-missing', { sees: dropped }, 1, 'The newest of the selected blocks');
      add('attention-selection-ignored', { sees: (t, w) => w < limit(t) });
    }
  }
  add('attention-window-long', { extra: 1 });
  add('attention-window-short', { extra: -1 });
  add('attention-sink-missing', { sink: () => -Infinity });
  add('attention-sink-scaled', { sink: (x) => x * scale });
  add('attention-inverse-rope-missing', { back: undefined });
  add('attention-inverse-rope-forward', { back: turn({ direction: 1 }) });
  add('attention-inverse-rope-by-key', { back: 'by-key' });
  if (frequencies.stretched) {
    if (ratio > 0) add('yarn-missing', { back: turn({ frequencies: frequencies.plain }) }, 0, 'In the rotation back');
    else add('yarn-on-window-layer', { back: turn({ frequencies: frequencies.stretched }) }, 0, 'In the rotation back');
  }
  add('rope-half-split', { back: turn({ pairs: 'half-split' }) }, 0, 'In the rotation back');
  add('rope-leading-dims', { back: turn({ leading: true }) }, 0, 'In the rotation back');
  return floatProblem({
    output,
    m: s * heads,
    n: d,
    inner: heads,
    cost: { perRow: d * 3 * (Math.min(window, s) + c), perElement: 1 },
    levels: LEVELS,
    right: (sample, level) => rowsAt(level).predict(right, level, sample),
    candidates,
  });
}
