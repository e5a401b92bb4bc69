/**
 * When a computation reproduces an output. It is computed in float64 together with `noise`, a bound on what float32 arithmetic in any
 * order may add to it. The output fits **tightly** when every element is one that rounding to its dtype can give:
 * `round(want - noise) <= got <= round(want + noise)`. That is sharper than any relative tolerance, so that mistakes which change little
 * (one key more in a long window) are told from the right computation even in BF16. It fits **loosely** within one step of the dtype
 * plus `8 noise` (truncation instead of rounding, sums in an unusual order) plus `slack` (a re-quantized value that lies so near a
 * rounding boundary that float32 may land on either side).
 */
import { DTYPES, roundTo, type FloatDtype } from './dtypes';
import type { Floats } from './dump';
import type { Marks, Sample } from './sample';
import type { Judged, Misfit } from './types';

/** Half a float32 step, relative. */
export const UNIT = 2 ** -24;

/** What a computation says about the sampled elements, [rows, columns] of the sample. */
export interface Prediction {
  readonly want: Float64Array;
  /** Bound of the float32 error; Infinity: never written, so anything may stand there. */
  readonly noise: Float64Array;
  /** See above; absent: none. */
  readonly slack?: Float64Array | undefined;
}

/** The coordinates of element (row, column) of the output seen as [M, N], as text. */
function place(output: Floats, row: number, column: number, n: number): string {
  let index = row * n + column;
  const at: number[] = [];
  for (let axis = output.shape.length - 1; axis >= 0; axis--) {
    at.unshift(index % output.shape[axis]!);
    index = Math.floor(index / output.shape[axis]!);
  }
  return `${output.name}[${at.join(', ')}]`;
}

/** Running sums of a comparison. */
export class Tally {
  #gw = 0;
  #gg = 0;
  #ww = 0;
  #error = 0;
  #compared = 0;
  #outside = 0;
  #loose = true;
  #maxAbs = 0;
  #misfit: Misfit | undefined;

  /** One element. `fits`: tightly; `near`: loosely. */
  add(got: number, want: number, fits: boolean, near: boolean, where: () => string): void {
    this.#compared++;
    if (Number.isFinite(got) && Number.isFinite(want)) {
      const d = got - want;
      this.#gw += got * want;
      this.#gg += got * got;
      this.#ww += want * want;
      this.#error += d * d;
      if (Math.abs(d) > this.#maxAbs) this.#maxAbs = Math.abs(d);
    }
    if (fits) return;
    this.#outside++;
    if (!near) this.#loose = false;
    this.#misfit ??= { where: where(), got, want };
  }

  /** Some element did not fit tightly. */
  get misses(): boolean {
    return this.#outside > 0;
  }

  result(): Judged {
    const fits = this.#outside === 0;
    const zero = this.#gg === 0 || this.#ww === 0;
    return {
      tier: fits ? 'tight' : this.#loose ? 'loose' : 'no',
      cosine: zero ? Number(this.#gg === this.#ww) : this.#gw / Math.sqrt(this.#gg) / Math.sqrt(this.#ww),
      maxAbs: this.#maxAbs,
      nmse: this.#error === 0 ? 0 : this.#error / this.#gg,
      compared: this.#compared,
      outside: this.#outside,
      misfit: this.#misfit,
    };
  }
}

interface JudgeOptions {
  /** Where misfits are written to. */
  readonly misfits?: Marks;
  /** What the output was rounded to, when it is not the dtype it is stored in. */
  readonly dtype?: FloatDtype | undefined;
}

/**
 * Compares predictions of samples with the output; `blur` is the noise relative to the output (root mean squares). Elements that were never
 * written are left out; when nothing is left, nothing fits. What follows a sample that does not fit is not computed.
 */
export function judgeFloats(
  output: Floats,
  n: number,
  samples: readonly Sample[],
  predict: (sample: Sample) => Prediction,
  { misfits, dtype = output.dtype }: JudgeOptions = {},
): Judged & { readonly blur: number } {
  const { data } = output;
  const { step, smallest } = DTYPES[dtype];
  const tally = new Tally();
  let [power, blur] = [0, 0];
  for (const sample of samples) {
    if (tally.misses) break;
    const { rows, columns } = sample;
    const { want, noise, slack } = predict(sample);
    for (let i = 0; i < rows.length; i++) {
      for (let j = 0; j < columns.length; j++) {
        const at = i * columns.length + j;
        const error = noise[at]!;
        if (error === Infinity) continue;
        const got = data[rows[i]! * n + columns[j]!]!;
        const w = want[at]!;
        const distance = Math.abs(got - w);
        const fits =
          distance <= error ||
          Object.is(got, w) ||
          (got >= roundTo(dtype, w - error) && got <= roundTo(dtype, w + error)); // false for NaN
        if (Number.isFinite(got)) {
          power += got * got;
          blur += error * error;
        }
        const near = fits || distance <= 8 * error + step * Math.abs(w) + smallest + (slack?.[at] ?? 0);
        tally.add(got, w, fits, near, () => place(output, rows[i]!, columns[j]!, n));
        if (!fits && misfits) {
          misfits.rows.add(rows[i]!);
          misfits.columns.add(columns[j]!);
        }
      }
    }
  }
  const judged = { ...tally.result(), blur: blur === 0 || power === 0 ? 0 : Math.sqrt(blur / power) };
  return judged.compared === 0 && data.length > 0 ? { ...judged, tier: 'no', cosine: 0 } : judged;
}
