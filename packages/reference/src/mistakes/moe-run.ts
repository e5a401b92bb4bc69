/** The routed experts of a dump, run slot by slot with whatever is wrong about them. */
import { E4M3_VALUES } from '@megamoe/core';
import { UNIT, type Prediction, type Sample } from './compare';
import { decodeRow, dot, norm, type NibbleOrder } from './nibbles';
import { stage, stagingSlack } from './staging';

/** A projection's weights of all experts, as a kernel sees them. */
export interface Weights {
  /** [E, rows, K/2] */
  readonly codes: Uint8Array;
  /** [E, rows, K/16] */
  readonly sf: Uint8Array;
  readonly order: NibbleOrder;
  /** [E] */
  readonly global: Float64Array;
}

/** What the input of a layer goes through. */
export interface Staging {
  /** [E] scale to quantize with. */
  readonly quantize: Float64Array;
  /** [E] scale to multiply with afterwards. */
  readonly alpha: Float64Array;
  readonly order: NibbleOrder;
  /** What a kernel reads of the block scales [slots, kSf] of all slots. */
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

/** A row with the bound of its error, and how far it moves if a code next to a rounding boundary falls the other way. */
interface Row {
  readonly values: Float64Array;
  readonly error: Float64Array;
}

/** Runs variants of one dump. */
export class MoeRunner {
  readonly #hidden = new Map<string, Map<number, Row>>();

  constructor(readonly inputs: MoeInputs) {}

  #input({ reads }: Slot): Float64Array {
    const { h, x } = this.inputs;
    return reads < 0 ? new Float64Array(h) : Float64Array.from(x.subarray(reads * h, (reads + 1) * h));
  }

  /** A row after staging. All slots' scales are needed when they are reread from a wrong layout. */
  #staged(values: Float64Array, staging: Staging | undefined, e: number, sf?: Uint8Array): Float64Array {
    if (!staging) return values;
    const staged = stage(values, values.length, () => staging.quantize[e]!);
    const [read, alpha] = [sf ?? staged.sf, staging.alpha[e]!];
    const out = new Float64Array(values.length);
    return decodeRow(staged.codes, 0, (block) => E4M3_VALUES[read[block]!]! * alpha, staging.order, out);
  }

  /** Block scales that a kernel reads for each slot, when the layout is wrong. */
  #reread(run: Run, staging: Staging | undefined, k: number, row: (s: number) => Float64Array): Uint8Array | undefined {
    if (!staging?.reread) return undefined;
    const all = new Uint8Array((run.slots.length * k) / 16);
    run.slots.forEach((slot, s) => {
      if (slot.expert < 0) return;
      all.set(stage(row(s), k, () => staging.quantize[slot.expert]!).sf, (s * k) / 16);
    });
    return staging.reread(all);
  }

  /** Hidden rows of the slots `wanted`, after SwiGLU. */
  hidden(run: Run, wanted: readonly number[]): Map<number, Row> {
    const { h, i, limit } = this.inputs;
    let known = this.#hidden.get(run.l1Key);
    if (!known) this.#hidden.set(run.l1Key, (known = new Map()));
    const missing = wanted.filter((s) => !known.has(s) && run.slots[s]!.expert >= 0);
    const sf = missing.length > 0 ? this.#reread(run, run.l1, h, (s) => this.#input(run.slots[s]!)) : undefined;
    const factor = UNIT * (8 + Math.sqrt(h) / 4);
    for (const [e, slots] of byExpert(run, missing)) {
      const xs = slots.map((s) =>
        this.#staged(this.#input(run.slots[s]!), run.l1, e, sf?.subarray((s * h) / 16, ((s + 1) * h) / 16)),
      );
      const lengths = xs.map(norm);
      const rows = slots.map((s): Row => {
        const row = { values: new Float64Array(i), error: new Float64Array(i) };
        known.set(s, row);
        return row;
      });
      const [gateRow, upRow] = [new Float64Array(h), new Float64Array(h)];
      for (let n = 0; n < i; n++) {
        decodeWeight(run.gate, e * i + n, gateRow);
        decodeWeight(run.up, e * i + n, upRow);
        const [gateScale, upScale] = [run.gate.global[e]!, run.up.global[e]!];
        const [gateLength, upLength] = [norm(gateRow) * Math.abs(gateScale), norm(upRow) * Math.abs(upScale)];
        xs.forEach((x, r) => {
          const g0 = dot(x, gateRow) * gateScale;
          const u0 = dot(x, upRow) * upScale;
          const [gateError, upError] = [factor * lengths[r]! * gateLength, factor * lengths[r]! * upLength];
          const g = run.clamp ? Math.min(g0, limit) : g0;
          const u = run.clamp ? Math.min(Math.max(u0, -limit), limit) : u0;
          const silu = g / (1 + Math.exp(-g));
          rows[r]!.values[n] = silu * u;
          // What is cut off for certain has no error.
          const fromGate =
            run.clamp && g0 - gateError > limit ? 0 : slopeOfSilu(g, gateError) * gateError * Math.abs(u);
          const fromUp = run.clamp && Math.abs(u0) - upError > limit ? 0 : upError * Math.abs(silu);
          rows[r]!.error[n] = fromGate + fromUp + 8 * UNIT * Math.abs(silu * u);
        });
      }
    }
    return known;
  }

  predict(run: Run, { rows, columns }: Sample): Prediction {
    const { h, i } = this.inputs;
    const place = new Map(Array.from(rows, (row, at) => [row, at]));
    const active = Array.from(run.slots.keys()).filter(
      (s) => run.slots[s]!.expert >= 0 && place.has(run.slots[s]!.token),
    );
    const everything = run.l2?.reread !== undefined;
    const hidden = this.hidden(run, everything ? Array.from(run.slots.keys()) : active);
    const sf = this.#reread(run, run.l2, i, (s) => hidden.get(s)!.values);
    const width = columns.length;
    const want = new Float64Array(rows.length * width);
    const noise = new Float64Array(want.length);
    const slack = new Float64Array(want.length);
    const factor = UNIT * (12 + Math.sqrt(i) / 4);
    for (const [e, slots] of byExpert(run, active)) {
      const ins = slots.map((s) => {
        const { values, error } = hidden.get(s)!;
        const staged = this.#staged(values, run.l2, e, sf?.subarray((s * i) / 16, ((s + 1) * i) / 16));
        const moved = run.l2 && stagingSlack(values, error, i, () => run.l2!.quantize[e]!);
        return {
          at: place.get(run.slots[s]!.token)! * width,
          weight: run.slots[s]!.weight,
          staged,
          length: factor * norm(staged) + (run.l2 ? 0 : norm(error)),
          moved: moved?.map((v) => v * Math.abs(run.l2!.alpha[e]!)),
        };
      });
      const w = new Float64Array(i);
      columns.forEach((c, j) => {
        decodeWeight(run.down, e * h + c, w);
        const scale = run.down.global[e]!;
        const length = norm(w) * Math.abs(scale);
        for (const { at, weight, staged, length: inLength, moved } of ins) {
          want[at + j]! += weight * scale * dot(staged, w);
          noise[at + j]! += Math.abs(weight) * inLength * length;
          if (moved)
            slack[at + j]! += Math.abs(weight * scale) * moved.reduce((sum, v, n) => sum + v * Math.abs(w[n]!), 0);
        }
      });
    }
    return { want, noise, slack };
  }
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

function decodeWeight({ codes, sf, order }: Weights, row: number, out: Float64Array): void {
  const kSf = out.length / 16;
  decodeRow(codes, row, (block) => E4M3_VALUES[sf[row * kSf + block]!]!, order, out);
}

function byExpert({ slots }: Run, wanted: readonly number[]): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  for (const s of wanted) {
    const e = slots[s]!.expert;
    const group = groups.get(e);
    if (group) group.push(s);
    else groups.set(e, [s]);
  }
  return groups;
}
