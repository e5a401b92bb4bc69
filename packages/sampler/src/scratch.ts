import { checkInteger } from '@megamoe/core';

/** Logits that a step works on: of the whole vocabulary, or of a few tokens of it, ids ascending. */
export interface Candidates {
  /** How many there are. */
  count: number;
  /** Their logits. */
  readonly work: Float32Array;
  /** The bits of `work`. */
  readonly bits: Int32Array;
  /** Their token ids; undefined when the index is the id. */
  readonly tokens: Int32Array | undefined;
}

/** Token id of candidate `i`. */
export function tokenOf({ tokens }: Candidates, i: number): number {
  return tokens === undefined ? i : tokens[i]!;
}

/** Work buffers of a sampler; see {@link createSamplerScratch}. What they hold between calls means nothing, but for zeros in `masses`. */
export interface SamplerScratch {
  readonly vocabSize: number;
  /** [V] processed logits. */
  readonly all: Candidates;
  /** [at most 4096] processed logits of the tokens that a scan found. */
  readonly few: Candidates & { readonly tokens: Int32Array };
  /** [V] candidates of a selection. */
  readonly ids: Int32Array;
  /** [V] weight of each token. */
  readonly weights: Float64Array;
  /** [2048] */
  readonly counts: Int32Array;
  /** [2048] zeros between uses. */
  readonly masses: Float64Array;
  /** [4] */
  readonly words: Uint32Array;
}

/** More candidates than this are no few: the whole vocabulary is worked on. */
const FEW = 4096;

/** Buckets of one radix pass: 11 bits. */
export const BUCKETS = 2048;

/**
 * Work buffers for a vocabulary of V tokens, 16 bytes a token. Samplers that take turns on one thread may share them
 * (`new Sampler({ scratch })`): a server with 100 sequences then holds them once.
 */
export function createSamplerScratch(vocabSize: number): SamplerScratch {
  checkInteger('createSamplerScratch', 'vocabSize', vocabSize, 1, 0x7fffffff);
  const work = new Float32Array(vocabSize);
  const few = new Float32Array(Math.min(FEW, vocabSize));
  return {
    vocabSize,
    all: { count: vocabSize, work, bits: new Int32Array(work.buffer), tokens: undefined },
    few: { count: 0, work: few, bits: new Int32Array(few.buffer), tokens: new Int32Array(few.length) },
    ids: new Int32Array(vocabSize),
    weights: new Float64Array(vocabSize),
    counts: new Int32Array(BUCKETS),
    masses: new Float64Array(BUCKETS),
    words: new Uint32Array(4),
  };
}
