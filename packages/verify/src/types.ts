import type { InputPrecision, OpName } from '@megamoe/ops';
import type { Bound, Metric } from './bounds';

/** Which operation of which layer; layer null: before or after the layers. */
export interface OpAt {
  readonly layer: number | null;
  /** Where it stands in the layer, by the name of its weight or of what it works on: `attn.wq_a`, `attn.q_rope`, `ffn.w2.gemm`. */
  readonly op: string;
}

/** When a call was made. */
export interface StepAt {
  readonly kind: 'prefill' | 'decode';
  /** Position of the step's first token, and tokens in it. */
  readonly position: number;
  readonly tokens: number;
}

/** An element of an output that is the farthest from right. */
export interface WorstElement {
  readonly index: readonly number[];
  readonly got: number;
  readonly want: number;
}

/** An operation that is out of bound. */
export interface Finding extends OpAt {
  /** Its name in the list of operations; null for what is not on it: the plan of a step, whole layers. */
  readonly operation: OpName | null;
  readonly step: StepAt;
  /** Which of its outputs. */
  readonly output: string;
  readonly metric: Metric;
  readonly error: number;
  readonly bound: number;
  readonly reason: string;
  readonly worst: WorstElement | null;
  /** What happened, where no number says it. */
  readonly message?: string;
  /** Known mistakes that reproduce the output, by their ids of `megamoe explain`; absent where it does not know the operation. */
  readonly mistakes?: readonly string[];
  /** File for `megamoe explain`, when one was written. */
  readonly dump?: string;
}

/** All calls of one operation of one layer. */
export interface OpSummary extends OpAt {
  readonly operation: OpName | null;
  /** Precision of its inputs; null where that is no argument of it. */
  readonly inputs: InputPrecision | null;
  readonly calls: number;
  readonly elements: number;
  readonly passed: boolean;
  readonly metric: Metric;
  /** The call that used most of its bound: its error and the bound that it had. */
  readonly error: number;
  readonly bound: number;
  readonly reason: string;
  /** Over all calls; null where outputs are no numbers to subtract. */
  readonly cosine: number | null;
  readonly nmse: number | null;
  readonly maxAbs: number | null;
  readonly maxUlp: number | null;
  /** W4A4: largest distance from the exact product, in ulp of the result. */
  readonly ulpFromExact: number | null;
  readonly worst: WorstElement | null;
}

/** One output beside the right one. */
export interface Judged {
  readonly output: string;
  readonly got: ArrayLike<number>;
  readonly want: ArrayLike<number>;
  readonly shape: readonly number[];
  readonly bound: Bound;
  /** For `roundings`: what an element's error is measured against. */
  readonly scale?: (i: number) => number;
  /** For `ulp`: the exact answer, from which the rule itself is a little off. */
  readonly exact?: ArrayLike<number>;
}

/** A tensor of a dump. */
export interface DumpTensor {
  readonly name: string;
  readonly dtype: 'F32' | 'I32' | 'U8';
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** What an operation was given and gave, in the terms of `megamoe explain`; not written yet. */
export interface PendingDump {
  /** Its operation there, as in `grouped_gemm_nvfp4`. */
  readonly op: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly tensors: readonly DumpTensor[];
}

/** Thrown out of a step when the first operation is out of bound and nobody wants to know more. */
export class StopVerification extends Error {
  override readonly name = 'StopVerification';
}
