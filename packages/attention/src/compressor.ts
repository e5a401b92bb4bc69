import { checkKind, plainView } from '@megamoe/core';
import type { CompressorHandle } from '@megamoe/ops';

/** Weights of one compressor, float32. */
export class Compressor implements CompressorHandle {
  readonly kind = 'compressor';
  readonly #isOne = true;

  constructor(
    /** [ratio, width] position bias of the gates. */
    readonly ape: Float32Array,
    /** [dim] RMS norm of an entry. */
    readonly norm: Float32Array,
  ) {
    Object.freeze(this);
  }

  /** Whether it was made here: not an object that looks like one. */
  static is(v: unknown): v is Compressor {
    try {
      return (v as Compressor).#isOne !== undefined; // #isOne in v takes several times as long in a running model
    } catch {
      return false;
    }
  }
}

/** Copies the weights of a compressor. @throws KindError for arrays of another kind */
export function packCompressor(ape: Float32Array, norm: Float32Array): Compressor {
  checkKind('packCompressor', 'ape', ape, Float32Array);
  checkKind('packCompressor', 'norm', norm, Float32Array);
  return new Compressor(plainView(ape, Float32Array).slice(), plainView(norm, Float32Array).slice());
}
