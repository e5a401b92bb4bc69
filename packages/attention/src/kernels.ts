import type { KernelBackend } from '@megamoe/native-kit';
import type {
  CompressorHandle,
  FamilyOp,
  HostArrays,
  KvCache,
  LayerSpec,
  Operations,
  RopeHandle,
  RopeSpec,
  Step,
  StepRows,
} from '@megamoe/ops';

/**
 * The attention operations of the list in `@megamoe/ops`, on typed arrays, and what makes their handles. Each takes all rows of a step at
 * once. A result row depends neither on the rows beside it nor on the threads, bit for bit, per backend and instruction set. Wrong
 * arguments throw ShapeError (lengths, capacities), ValueError (ranges), KindError or UnsupportedError (a layer without that memory) before
 * anything is written.
 */
export interface AttentionKernels extends Operations<HostArrays, FamilyOp<'attention'>> {
  readonly backend: KernelBackend;
  /** `js`, or the native instruction set in use. */
  readonly isa: string;
  readonly threads: number;
  /** Inverse frequencies in the float32 steps of Hugging Face transformers. */
  createRope(spec: RopeSpec): RopeHandle;
  /** A copy of the position bias of the gates, `ape` [ratio, width], and of the RMS norm of an entry, `norm` [dim]. */
  packCompressor(ape: Float32Array, norm: Float32Array): CompressorHandle;
  /** Memory without pages: a PagePool grows it. All layers have the same window. */
  createCache(layers: readonly LayerSpec[]): KvCache;
  /** Room for steps of up to `maxRows` rows. */
  createStep(maxRows: number): Step;
  /**
   * Takes in the rows of the next step and works out, once for all layers of a kind, which keys each row sees and which windows become
   * full; `rope` turns compressed entries. Pages must have been reserved. When it throws, the step is refused by every operation until it
   * has been planned again.
   */
  planStep(step: Step, rows: StepRows, cache: KvCache, rope: RopeHandle): void;
}
