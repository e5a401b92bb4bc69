import { checkInteger } from '@megamoe/core';

/** Work buffers of a sampler; see {@link createSamplerScratch}. The contents mean nothing between calls. */
export interface SamplerScratch {
  readonly vocabSize: number;
  /** [V] processed logits. */
  readonly work: Float32Array;
  /** The bits of `work`. */
  readonly bits: Int32Array;
  /** [V] candidates of a selection. */
  readonly ids: Int32Array;
  /** [V] weight of each token. */
  readonly weights: Float64Array;
  /** [2048] */
  readonly counts: Int32Array;
  /** [2048] */
  readonly masses: Float64Array;
  /** [4] */
  readonly words: Uint32Array;
}

/** Buckets of one radix pass: 11 bits. */
export const BUCKETS = 2048;

/**
 * Work buffers for a vocabulary of V tokens, 16 bytes a token. Samplers that take turns on one thread may share them
 * (`new Sampler({ scratch })`): a server with 100 sequences then holds them once.
 */
export function createSamplerScratch(vocabSize: number): SamplerScratch {
  checkInteger('createSamplerScratch', 'vocabSize', vocabSize, 1, 0x7fffffff);
  const work = new Float32Array(vocabSize);
  return {
    vocabSize,
    work,
    bits: new Int32Array(work.buffer),
    ids: new Int32Array(vocabSize),
    weights: new Float64Array(vocabSize),
    counts: new Int32Array(BUCKETS),
    masses: new Float64Array(BUCKETS),
    words: new Uint32Array(4),
  };
}
