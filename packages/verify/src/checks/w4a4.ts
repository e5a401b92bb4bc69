import { BY_BLOCKS, summedByTensorCore } from '../bounds';
import type { Judged } from '../types';

/** What multiplies a sum at its end. */
interface Scales {
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  /** [parts] */
  readonly alpha: ArrayLike<number>;
  /** [rows] */
  readonly rowScale: ArrayLike<number> | null;
}

/**
 * What every element adds up on its way, block by block: the sum before the block and the magnitudes of its products. A tensor core that
 * keeps the sum cuts off parts of these.
 */
export class SumSizes {
  readonly #sizes: Float64Array;

  constructor(length: number) {
    this.#sizes = new Float64Array(length);
  }

  /** Rows `a` [rows, k] times rows `b` [n, k], without their global scales; `at` is where an element lies. */
  add(a: Float64Array, b: Float64Array, s: Scales, at: (r: number, c: number) => number): void {
    const { n, k, parts, alpha, rowScale } = s;
    for (let r = 0; r * k < a.length; r++) {
      for (let c = 0; c < n; c++) {
        let [sum, size] = [0, 0];
        for (let block = 0; block < k; block += 16) {
          size += Math.abs(sum);
          for (let i = block; i < block + 16; i++) {
            const product = a[r * k + i]! * b[c * k + i]!;
            sum += product;
            size += Math.abs(product);
          }
        }
        this.#sizes[at(r, c)] = size * Math.abs(alpha[Math.floor((c * parts) / n)]! * (rowScale ? rowScale[r]! : 1));
      }
    }
  }

  readonly of = (i: number): number => this.#sizes[i]! + 1e-30;
}

/** The right answer as the math of a backend has it: every bit by the rule, or, where sums were sized, the exact product within a bound. */
export function byItsMath(
  rounded: Float32Array,
  exact: Float64Array,
  k: number,
  sizes: SumSizes | undefined,
): Pick<Judged, 'want' | 'exact' | 'bound' | 'scale'> {
  if (sizes === undefined) return { want: rounded, exact, bound: BY_BLOCKS };
  return { want: exact, exact, bound: summedByTensorCore(k / 16), scale: sizes.of };
}
