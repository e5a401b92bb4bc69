/** The routed experts of a dump, run slot by slot with whatever is wrong about them. */
import { E4M3_VALUES } from '@megamoe/core';
import { UNIT, type Prediction } from './compare';
import { FLOAT32, keyAt, levelsOf, roundAt, spreadOf, type Level, type Point } from './levels';
import { Dots, magnitudeAt, Vector, type Weights } from './moe-dots';
import { decodeRow, norm, type NibbleOrder } from './nibbles';
import type { Sample } from './sample';
import { stage, stagingSlack } from './staging';

/** Where kernels round between x and the output. */
const GATE_UP: Point = { id: 'gate-up', text: 'gate and up' };
const SILU: Point = { id: 'silu', text: 'silu(gate)' };
const HIDDEN: Point = { id: 'hidden', text: 'the hidden row' };
const DOWN: Point = { id: 'down', text: "each expert's output" };
const WEIGHTED: Point = { id: 'weighted', text: "each expert's weighted output" };
const BEFORE_DOWN = [GATE_UP.id, SILU.id, HIDDEN.id];

/** Levels of a mixture. */
export const LEVELS: readonly Level[] = levelsOf(
  [[GATE_UP], [SILU], [HIDDEN], [DOWN, WEIGHTED]],
  [...BEFORE_DOWN, DOWN.id],
);

/** What the input of a layer goes through. */
export interface Staging {
  /** [E] scale to quantize with. */
  readonly quantize: Float64Array;
  /** [E] scale to multiply with afterwards. */
  readonly alpha: Float64Array;
  readonly order: NibbleOrder;
  /** What a kernel reads of the block scales [slots, kSf] of all slots: each byte one of them, or zero. */
  readonly reread?: (sf: Uint8Array) => Uint8Array;
}

/** A (token, choice) pair that an expert of the dump works on. */
export interface Slot {
  readonly token: number;
  readonly weight: number;
  /** -1: nobody's, contributes nothing. */
  readonly expert: number;
  /** Row of x it reads; -1: zeros. */
  readonly reads: number;
}

/** A mixture, right or not. Runs with the same `l1Key` share everything up to the hidden rows. */
export interface Run {
  readonly l1Key: string;
  readonly slots: readonly Slot[];
  readonly gate: Weights;
  readonly up: Weights;
  readonly down: Weights;
  /** Undefined: float activations. */
  readonly l1: Staging | undefined;
  readonly l2: Staging | undefined;
  readonly clamp: boolean;
}

/** Sizes and inputs. */
export interface MoeInputs {
  readonly t: number;
  readonly h: number;
  readonly i: number;
  readonly x: Float32Array;
  readonly limit: number;
}

/** A hidden row with the bound of its error; NaN where it is not known yet. */
interface Row {
  readonly values: Float64Array;
  readonly error: Float64Array;
  /** What L2 makes of it, by scale and order of codes. */
  readonly staged: Map<string, Vector>;
  /** By scale; 0 for float activations. */
  readonly moved: Map<number, Moved>;
}

/** The staged values that move, by how much, if what lies on a rounding boundary falls the other way. */
interface Moved {
  readonly at: Int32Array;
  readonly by: Float64Array;
}

/** Inputs that are kept; beyond, all are forgotten and made anew. */
const KEPT_NUMBERS = 3e7;

const range = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i);

/** Runs variants of one dump. */
export class MoeRunner {
  readonly #hidden = new Map<string, Map<number, Row>>();
  readonly #inputs = new Map<string, Vector>();
  readonly #l1: Dots;
  readonly #l2: Dots;
  readonly #all: Int32Array;

  constructor(readonly inputs: MoeInputs) {
    this.#l1 = new Dots(inputs.i, inputs.h);
    this.#l2 = new Dots(inputs.h, inputs.i);
    this.#all = range(inputs.i);
  }

  #x({ reads }: Slot): Float32Array {
    const { h, x } = this.inputs;
    return reads < 0 ? new Float32Array(h) : x.subarray(reads * h, (reads + 1) * h);
  }

  /** What L1 multiplies for a slot, without alpha. `sf`: the scales read, when the layout is wrong. */
  #input(run: Run, s: number, sf: Uint8Array | undefined): Vector {
    const { l1, slots } = run;
    const { reads, expert } = slots[s]!;
    const key = sf ? `${run.l1Key},${s}` : l1 ? `${reads},${l1.quantize[expert]},${l1.order}` : `${reads}`;
    let input = this.#inputs.get(key);
    if (!input) {
      const x = this.#x(slots[s]!);
      input = new Vector(l1 ? restored(x, l1.quantize[expert]!, l1.order, sf) : Float64Array.from(x));
      if (this.#inputs.size * this.inputs.h > KEPT_NUMBERS) this.#inputs.clear();
      this.#inputs.set(key, input);
    }
    return input;
  }

  /** Hidden rows of the slots `wanted`, after SwiGLU. */
  hidden(run: Run, level: Level, wanted: readonly number[]): Map<number, Row> {
    return this.#fill(run, level, new Map(wanted.map((s) => [s, this.#all])));
  }

  /** Makes elements of hidden rows known: for each slot those wanted. */
  #fill(run: Run, level: Level, wanted: ReadonlyMap<number, Int32Array>): Map<number, Row> {
    const { h, i } = this.inputs;
    const key = `${run.l1Key} ${keyAt(level, BEFORE_DOWN)}`;
    let known = this.#hidden.get(key);
    if (!known) this.#hidden.set(key, (known = new Map()));
    const missing = [...wanted.keys()].filter((s) => {
      const values = known.get(s)?.values;
      return run.slots[s]!.expert >= 0 && !(values && wanted.get(s)!.every((n) => !Number.isNaN(values[n])));
    });
    const read =
      run.l1?.reread &&
      readScales(run, run.l1, h, missing, (s, block) => this.#x(run.slots[s]!).subarray(block * 16, block * 16 + 16));
    for (const [e, ofExpert] of byExpert(run, missing)) {
      for (const [columns, slots] of groupBy(ofExpert, (s) => wanted.get(s)!)) {
        const xs = slots.map((s) => this.#input(run, s, read?.get(s)));
        const distinct = [...new Set(xs)];
        const gate = this.#l1.compute(run.gate, e, distinct, columns);
        const up = this.#l1.compute(run.up, e, distinct, columns);
        slots.forEach((s, at) => {
          let row = known.get(s);
          if (!row) known.set(s, (row = emptyRow(i)));
          const v = distinct.indexOf(xs[at]!);
          const length = xs[at]!.length;
          this.#activate(run, level, e, row, columns, {
            length,
            gate: gate.dots[v]!,
            up: up.dots[v]!,
            gateLengths: gate.lengths,
            upLengths: up.lengths,
          });
        });
      }
    }
    return known;
  }

  /** SwiGLU of products, and the bound of what float32 may make of it. */
  #activate(
    run: Run,
    level: Level,
    e: number,
    row: Row,
    columns: Int32Array,
    {
      length,
      gate,
      up,
      gateLengths,
      upLengths,
    }: { length: number; gate: Float64Array; up: Float64Array; gateLengths: Float64Array; upLengths: Float64Array },
  ): void {
    const { h, limit } = this.inputs;
    const alpha = run.l1 ? run.l1.alpha[e]! : 1;
    const [gateScale, upScale] = [run.gate.global[e]! * alpha, run.up.global[e]! * alpha];
    const factor = UNIT * (8 + Math.sqrt(h) / 4) * length;
    const g0 = Float64Array.from(columns, (n) => gate[n]! * gateScale);
    const u0 = Float64Array.from(columns, (n) => up[n]! * upScale);
    const gateErrors = Float64Array.from(columns, (n) => factor * gateLengths[n]! * Math.abs(gateScale));
    const upErrors = Float64Array.from(columns, (n) => factor * upLengths[n]! * Math.abs(upScale));
    roundAt(level, GATE_UP.id, g0, gateErrors);
    roundAt(level, GATE_UP.id, u0, upErrors);
    const silus = new Float64Array(columns.length);
    const siluErrors = new Float64Array(columns.length);
    for (let at = 0; at < columns.length; at++) {
      const g = run.clamp ? Math.min(g0[at]!, limit) : g0[at]!;
      const error = gateErrors[at]!;
      silus[at] = g / (1 + Math.exp(-g));
      // What is cut off for certain has no error.
      siluErrors[at] = run.clamp && g0[at]! - error > limit ? 0 : slopeOfSilu(g, error) * error;
    }
    if (keyAt(level, [SILU.id])) {
      for (let at = 0; at < silus.length; at++) siluErrors[at]! += 8 * UNIT * Math.abs(silus[at]!);
      roundAt(level, SILU.id, silus, siluErrors);
    }
    const values = new Float64Array(columns.length);
    const errors = new Float64Array(columns.length);
    for (let at = 0; at < columns.length; at++) {
      const u = run.clamp ? Math.min(Math.max(u0[at]!, -limit), limit) : u0[at]!;
      values[at] = silus[at]! * u;
      const fromUp = run.clamp && Math.abs(u0[at]!) - upErrors[at]! > limit ? 0 : upErrors[at]! * Math.abs(silus[at]!);
      errors[at] = siluErrors[at]! * Math.abs(u) + fromUp + 8 * UNIT * Math.abs(values[at]!);
    }
    roundAt(level, HIDDEN.id, values, errors);
    columns.forEach((n, at) => {
      row.values[n] = values[at]!;
      row.error[n] = errors[at]!;
    });
  }

  /** Scales that L2 reads for the slots `active` in a wrong layout; of other slots' hidden rows only the blocks behind them are computed. */
  #readHidden(run: Run, level: Level, staging: Staging, active: readonly number[]): Map<number, Uint8Array> {
    const { i } = this.inputs;
    let rows: Map<number, Row> | undefined;
    const block16 = (s: number, block: number): Float64Array =>
      rows!.get(s)!.values.subarray(block * 16, block * 16 + 16);
    return readScales(run, staging, i, active, block16, (blocks) => {
      const columns = (list: readonly number[]): Int32Array =>
        Int32Array.from(list.flatMap((b) => [...range(16)].map((j) => b * 16 + j)));
      rows = this.#fill(run, level, new Map(Array.from(blocks, ([s, list]) => [s, columns(list)])));
    });
  }

  predict(run: Run, level: Level, { rows, columns }: Sample): Prediction {
    const { h, i } = this.inputs;
    const { down, l2, slots } = run;
    const place = new Map(Array.from(rows, (row, at) => [row, at]));
    const active = Array.from(slots.keys()).filter((s) => slots[s]!.expert >= 0 && place.has(slots[s]!.token));
    const hidden = this.hidden(run, level, active);
    const read = l2?.reread && this.#readHidden(run, level, l2, active);
    const width = columns.length;
    const want = new Float64Array(rows.length * width);
    const noise = new Float64Array(want.length);
    const slack = new Float64Array(want.length);
    const factor = UNIT * (12 + Math.sqrt(i) / 4);
    const values = new Float64Array(width);
    const errors = new Float64Array(width);
    for (const [e, group] of byExpert(run, active)) {
      const inputs = group.map((s) => stagedHidden(hidden.get(s)!, l2, e, read?.get(s)));
      const distinct = [...new Set(inputs)];
      const { dots, lengths } = this.#l2.compute(down, e, distinct, columns);
      const alpha = l2 ? l2.alpha[e]! : 1;
      const scale = down.global[e]! * alpha;
      group.forEach((s, index) => {
        const { token, weight } = slots[s]!;
        const row = hidden.get(s)!;
        const input = inputs[index]!;
        const products = dots[distinct.indexOf(input)]!;
        const moved = l2 || level !== FLOAT32 ? movedOf(row, l2?.quantize[e]) : NOTHING_MOVED;
        const length = factor * input.length * Math.abs(alpha) + (l2 ? 0 : normBut(row.error, moved.at));
        const first = place.get(token)! * width;
        columns.forEach((c, j) => {
          values[j] = scale * products[c]!;
          errors[j] = Math.abs(down.global[e]!) * length * lengths[c]!;
          if (moved.at.length === 0) return;
          let [sum, squares] = [0, 0];
          for (let n = 0; n < moved.at.length; n++) {
            const by = moved.by[n]! * magnitudeAt(down, e * h + c, moved.at[n]!, i);
            sum += by;
            squares += by * by;
          }
          if (level !== FLOAT32) errors[j]! += Math.abs(scale) * spreadOf(sum, squares);
          else slack[first + j]! += Math.abs(weight * scale) * sum;
        });
        roundAt(level, DOWN.id, values, errors);
        for (let j = 0; j < width; j++) {
          values[j]! *= weight;
          errors[j]! *= Math.abs(weight);
        }
        roundAt(level, WEIGHTED.id, values, errors);
        for (let j = 0; j < width; j++) {
          want[first + j]! += values[j]!;
          noise[first + j]! += errors[j]!;
        }
      });
    }
    return { want, noise, slack };
  }
}

function emptyRow(i: number): Row {
  const nothing = (): Float64Array => new Float64Array(i).fill(NaN);
  return { values: nothing(), error: nothing(), staged: new Map(), moved: new Map() };
}

/** A row quantized and restored, without alpha; with `sf`, by scales that are not its own. */
function restored(
  x: ArrayLike<number>,
  quantize: number,
  order: NibbleOrder,
  sf: Uint8Array | undefined,
): Float64Array {
  const staged = stage(x, x.length, () => quantize);
  const scales = sf ?? staged.sf;
  return decodeRow(staged.codes, 0, (block) => E4M3_VALUES[scales[block]!]!, order, new Float64Array(x.length));
}

/** What L2 multiplies for a hidden row, without alpha. */
function stagedHidden(row: Row, staging: Staging | undefined, e: number, sf: Uint8Array | undefined): Vector {
  if (staging && sf) return new Vector(restored(row.values, staging.quantize[e]!, staging.order, sf));
  const key = staging ? `${staging.quantize[e]},${staging.order}` : 'float';
  let vector = row.staged.get(key);
  if (!vector) {
    vector = new Vector(staging ? restored(row.values, staging.quantize[e]!, staging.order, undefined) : row.values);
    row.staged.set(key, vector);
  }
  return vector;
}

/** With float activations: the values that rounding may take to another number, where float32 moves the others by less than this part. */
const ROUNDED_AWAY = 2 ** -14;
const NOTHING_MOVED: Moved = { at: new Int32Array(), by: new Float64Array() };

function movedOf(row: Row, quantize: number | undefined): Moved {
  const { values, error } = row;
  let moved = row.moved.get(quantize ?? 0);
  if (!moved) {
    const by = quantize === undefined ? error : stagingSlack(values, error, values.length, () => quantize);
    const least = (n: number): number => (quantize === undefined ? Math.abs(values[n]!) * ROUNDED_AWAY : 0);
    const at = by ? Int32Array.from(by.keys()).filter((n) => by[n]! > least(n)) : new Int32Array();
    row.moved.set(quantize ?? 0, (moved = { at, by: Float64Array.from(at, (n) => by![n]!) }));
  }
  return moved;
}

/** Length of a vector without some of its elements. */
function normBut(x: Float64Array, but: Int32Array): number {
  if (but.length === 0) return norm(x);
  const rest = x.slice();
  for (const n of but) rest[n] = 0;
  return norm(rest);
}

/**
 * Block scales that a kernel reads for each slot of `wanted` when the layout is wrong. Only blocks whose scales are read are quantized:
 * `need` is told of them before `block16` is asked for their elements.
 */
function readScales(
  run: Run,
  { quantize, reread }: Staging,
  k: number,
  wanted: readonly number[],
  block16: (s: number, block: number) => ArrayLike<number>,
  need: (blocks: ReadonlyMap<number, number[]>) => void = () => undefined,
): Map<number, Uint8Array> {
  const kSf = k / 16;
  const origin = originsOf(reread!, run.slots.length * kSf);
  const behind = new Map<number, Set<number>>();
  for (const s of wanted) {
    for (const from of origin.subarray(s * kSf, (s + 1) * kSf)) {
      const slot = Math.floor(from / kSf);
      if (from < 0 || run.slots[slot]!.expert < 0) continue; // zero, or a scale that nobody wrote
      const blocks = behind.get(slot) ?? new Set();
      behind.set(slot, blocks.add(from % kSf));
    }
  }
  need(new Map(Array.from(behind, ([s, blocks]) => [s, [...blocks]])));
  const scales = new Map<number, number>();
  for (const [s, blocks] of behind) {
    const g = quantize[run.slots[s]!.expert]!;
    for (const block of blocks) scales.set(s * kSf + block, stage(block16(s, block), 16, () => g).sf[0]!);
  }
  const read = (s: number): Uint8Array =>
    Uint8Array.from(origin.subarray(s * kSf, (s + 1) * kSf), (from) => scales.get(from) ?? 0);
  return new Map(wanted.map((s) => [s, read(s)]));
}

/** Where each of `count` scales that a wrong layout gives comes from; -1: from none, it reads zero. */
function originsOf(reread: (sf: Uint8Array) => Uint8Array, count: number): Int32Array {
  const origin = new Int32Array(count).fill(-1);
  for (let shift = 0; shift === 0 || count >>> shift > 0; shift += 8) {
    const digits = reread(Uint8Array.from({ length: count }, (_, n) => ((n + 1) >>> shift) & 255));
    for (let n = 0; n < count; n++) origin[n]! += digits[n]! << shift;
  }
  return origin;
}

/** The steepest that silu gets within `error` of `g`: nowhere more than 1.1, and nearly flat far below zero. */
function slopeOfSilu(g: number, error: number): number {
  const slope = (x: number): number => {
    const sigmoid = 1 / (1 + Math.exp(-x));
    return Math.abs(sigmoid * (1 + x * (1 - sigmoid)));
  };
  if (g + error < -20) return slope(g + error); // rises from there on
  return error > 0.1 ? 1.1 : 1.1 * Math.max(slope(g - error), slope(g), slope(g + error)) + error;
}

function groupBy<T, K>(list: readonly T[], key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of list) {
    const k = key(item);
    const group = groups.get(k);
    if (group) group.push(item);
    else groups.set(k, [item]);
  }
  return groups;
}

const byExpert = ({ slots }: Run, wanted: readonly number[]): Map<number, number[]> =>
  groupBy(wanted, (s) => slots[s]!.expert);
