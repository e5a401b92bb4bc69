import { inverseFrequencies, type RopeHandle, type RopeSpec } from '@megamoe/ops';

/** Inverse frequencies of one rotary embedding. */
export class Rope implements RopeHandle {
  readonly #isOne = true;

  constructor(
    /** Rotated elements of a head, even; they are the last ones. */
    readonly ropeDim: number,
    /** [ropeDim/2] f32, one per interleaved pair. */
    readonly invFreq: Float32Array,
  ) {
    Object.freeze(this);
  }

  /** Whether it was made here: not an object that looks like one. */
  static is(v: unknown): v is Rope {
    try {
      return (v as Rope).#isOne !== undefined; // #isOne in v takes several times as long in a running model
    } catch {
      return false;
    }
  }
}

/** @throws ShapeError for an odd `ropeDim`; see inverseFrequencies of `@megamoe/ops` */
export function createRope(spec: RopeSpec): Rope {
  const invFreq = inverseFrequencies('createRope', spec);
  return new Rope(2 * invFreq.length, invFreq);
}

/**
 * The row of one position at offset `at` of the tables: `cos[at + i] = cos(angle)`, `sin[at + i] = sin(angle)` with
 * `angle = f32(position * invFreq[i])`, each rounded to f32.
 */
export function fillRopeRow(invFreq: Float32Array, position: number, cos: Float32Array, sin: Float32Array, at: number) {
  for (let i = 0; i < invFreq.length; i++) {
    const angle = Math.fround(position * invFreq[i]!);
    cos[at + i] = Math.cos(angle);
    sin[at + i] = Math.sin(angle);
  }
}
