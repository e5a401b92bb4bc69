/** What `explain` reads and answers. */
import type { Level } from './levels';

/** One tensor of a dump, as safetensors holds it. */
export interface DumpTensor {
  /** Element type as safetensors spells it: F32, BF16, F16, I32, U8, F8_E4M3, ... */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Little-endian, as stored. */
  readonly bytes: Uint8Array;
}

/** A dump: the inputs an operation was given, the output that looks wrong, and in `metadata` what the operation was meant to be. */
export interface Dump {
  /** `op` and its parameters: strings, numbers as JSON. */
  readonly metadata: ReadonlyMap<string, string>;
  readonly tensors: ReadonlyMap<string, DumpTensor>;
  /** Path, for messages. */
  readonly file?: string;
}

/** A known mistake, and how near its output comes to the suspicious one. */
export interface FoundMistake {
  readonly id: string;
  /** Over all compared elements that are finite. */
  readonly cosine: number;
  /** Largest difference over the same elements. */
  readonly maxAbs: number;
  /** What was compared, where the right computation first fails, and what is special about this reading of the mistake. */
  readonly evidence: string;
  /** The line of documentation that says what is right. */
  readonly rule: string;
}

/** A mistake that does not reproduce the output. */
export interface NearMistake extends FoundMistake {
  /** The right computation's cosine over the same elements. */
  readonly rightCosine: number;
}

/** How near the right computation comes. */
export interface RightFit {
  readonly cosine: number;
  readonly maxAbs: number;
  /** Compared elements that are not what the right computation gives, within rounding. */
  readonly outside: number;
  readonly compared: number;
  /** Elements of the output. */
  readonly elements: number;
}

/** The answer of {@link explainDump}. */
export interface Explanation {
  readonly op: string;
  /** The right computation reproduces the output within the precision of its dtype. */
  readonly agrees: boolean;
  /**
   * Where the computation that reproduces the output rounds: `float32`, `bf16:gate-up+hidden`; `exact` for bytes and ids; `none` when
   * nothing reproduces it.
   */
  readonly level: string;
  /** The level in words, empty for `float32`, `exact` and `none`. */
  readonly levelText: string;
  /** Mistakes that reproduce the output, best first. Empty when `agrees`. */
  readonly mistakes: readonly FoundMistake[];
  /** Mistakes that change the output but do not reproduce it, nearest first. */
  readonly nearest: readonly NearMistake[];
  readonly right: RightFit;
  /** In words, when the output holds one number only and the right computation gives another: then no mistake is looked for. */
  readonly constant?: string;
  /** What else a reader should know: coincidences, NaN in the output, what was sampled, differences that do no harm. */
  readonly notes: readonly string[];
}

/** How well a computation fits the output. `tight`: every element is what rounding gives; `loose`: within one step of the dtype. */
export type Tier = 'tight' | 'loose' | 'no';

/** The first compared element that does not fit. */
export interface Misfit {
  /** Tensor and coordinates. */
  readonly where: string;
  readonly got: number;
  readonly want: number;
}

/** The comparison of one computation with the output. */
export interface Judged {
  readonly tier: Tier;
  readonly cosine: number;
  readonly maxAbs: number;
  /** Relative squared error: orders those that fit. */
  readonly nmse: number;
  readonly compared: number;
  readonly outside: number;
  readonly misfit: Misfit | undefined;
}

/**
 * `probe`: enough to see that a level of rounding is another; `screen`: enough to tell mistakes apart; `full`: everything, or as much as
 * a stated budget allows.
 */
export type Scope = 'probe' | 'screen' | 'full';

/** One executable reading of a mistake. */
export interface Candidate {
  readonly id: string;
  /** 0: what the documentation says; 1: another reading of it, tried only when no reading of rank 0 fits. */
  readonly rank: 0 | 1;
  /** What is special about this reading ("scales of A"); may be empty. */
  readonly reading: string;
  /** More evidence than the numbers, when there is some. */
  readonly detail?: string;
  /** The bytes of a buffer in the dump say that it is this one: it comes first among those that coincide. */
  readonly confirmed?: boolean;
  judge(scope: Scope, level: Level): Judged;
}

/** An operation of a dump, ready to be judged. */
export interface Problem {
  /** Elements of all outputs. */
  readonly elements: number;
  /** What of the output was compared, in words, when it is not everything. */
  readonly coverage?: () => string;
  /** Levels of right: what no kernel rounds first, then by how much they say. */
  readonly levels: readonly [Level, ...Level[]];
  readonly right: { judge(scope: Scope, level: Level): Judged };
  readonly candidates: readonly Candidate[];
  readonly notes: readonly string[];
  /** Said when the right computation fits loosely only. */
  readonly looseNote?: string;
}
