import type { AttentionKernels } from '@megamoe/attention';
import type { GemmKernels, KernelIsa } from '@megamoe/gemm-native';
import type { BackendName } from '@megamoe/model';
import type { Ceilings, Limits } from './ceilings';

/** One line of `megamoe bench`. */
export interface BenchRow {
  readonly name: string;
  readonly shape: string;
  readonly threads: number;
  readonly median: number;
  readonly unit: string;
  /** The machine's limit for this, in the same unit, measured in turn with it. */
  readonly ceiling: number;
  /** `median / ceiling`. */
  readonly fraction: number;
  /** What `fraction` should reach; only where something is promised. */
  readonly target?: number;
  /** Present where the target is a most, not a least: times, shares and memory. */
  readonly atMost?: true;
}

/** What a case answers. */
export type Measured = Pick<BenchRow, 'median' | 'unit' | 'ceiling'>;

/** A row of a case that gives several. */
export type NamedMeasured = Measured & Pick<BenchRow, 'name' | 'shape'>;

/** One thing to measure, once for each number of threads. */
export interface BenchCase {
  readonly name: string;
  readonly shape: string;
  /** Names of the rows that a measurement gives, where their shapes are known only when it is done; that of the case is a part of them. */
  readonly rows?: readonly string[];
  /** For work of one thread, whatever is asked for. */
  readonly oneThread?: true;
  readonly target?: number | ((threads: number) => number);
  readonly atMost?: true;
  /** @throws BenchError when the answer is wrong; SkipCase when it cannot be measured here */
  run(threads: number): Measured | readonly NamedMeasured[] | Promise<Measured | readonly NamedMeasured[]>;
}

/** Which model the whole steps run on. */
export interface StepShape {
  readonly layers: number;
  readonly experts: number;
  readonly context: number;
  readonly vocab: number;
  /** Format of attention and shared experts; routed experts are NVFP4, router, table and head BF16. */
  readonly dense: 'bf16' | 'fp8' | 'nvfp4';
  /** Inputs of linears that are not quantized. */
  readonly floatInputs: 'f32' | 'bf16';
}

/** What it takes to measure. */
export interface Measuring {
  readonly quick: boolean;
  readonly ceilings: Limits;
  readonly signal: AbortSignal;
  /** Seconds of work, by the clock of what computes. */
  seconds(work: () => void): number;
}

/** What all cases on a processor share. */
export interface BenchContext extends Measuring {
  readonly backend: BackendName;
  readonly isa: KernelIsa;
  /** True when kernels are native. */
  readonly native: boolean;
  readonly threads: readonly number[];
  readonly ceilings: Ceilings;
  readonly step: StepShape;
  gemm(threads: number): GemmKernels;
  attention(threads: number): AttentionKernels;
}

/** A kernel's answer was wrong: a speed would mean nothing. */
export class BenchError extends Error {
  override readonly name = 'BenchError';
}

/** A case that this machine or installation cannot run; the message says why. */
export class SkipCase extends Error {
  override readonly name = 'SkipCase';
}
