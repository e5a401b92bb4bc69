import { checkInteger, describe, KindError, newArray } from '@megamoe/core';

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
  return new Scratch(vocabSize);
}

/** The one kind of scratch that is taken: what it holds belongs together, and nothing of it lies in an argument. */
class Scratch implements SamplerScratch {
  readonly all: Candidates;
  readonly few: Candidates & { readonly tokens: Int32Array };
  readonly ids: Int32Array;
  readonly weights: Float64Array;
  readonly counts = new Int32Array(BUCKETS);
  readonly masses = new Float64Array(BUCKETS);
  readonly words = new Uint32Array(4);
  readonly #isOne = true;

  constructor(readonly vocabSize: number) {
    const fn = 'createSamplerScratch';
    const work = newArray(fn, 'work', Float32Array, 'vocabSize', vocabSize);
    const few = new Float32Array(Math.min(FEW, vocabSize));
    this.all = { count: vocabSize, work, bits: new Int32Array(work.buffer), tokens: undefined };
    this.few = { count: 0, work: few, bits: new Int32Array(few.buffer), tokens: new Int32Array(few.length) };
    this.ids = newArray(fn, 'ids', Int32Array, 'vocabSize', vocabSize);
    this.weights = newArray(fn, 'weights', Float64Array, 'vocabSize', vocabSize);
  }

  static is(v: unknown): v is Scratch {
    return typeof v === 'object' && v !== null && #isOne in v;
  }
}

/** Throws unless `scratch` was made by {@link createSamplerScratch}. */
export function checkScratch(fn: string, scratch: SamplerScratch): void {
  if (Scratch.is(scratch)) return;
  throw new KindError(`${fn}: "scratch" must be what createSamplerScratch made, got ${describe(scratch)}`);
}
