import type { LogitsScan } from '@megamoe/core';
import type { CompressorHandle, RopeHandle, RopeSpec, RouterHandle, RouteSpec, Staged, StagedSpec } from './handles';
import type { Dtype } from './kinds';
import type { KvDtype, LayerSpec, PageKind } from './pages';
import type { StepRows } from './step';
import type { Tensor } from './tensor';
import type { Operations } from './types';
import type {
  ExpertPool,
  ExpertPoolShape,
  ExpertsSource,
  ExpertsWeight,
  LinearSource,
  LinearWeight,
  WeightFormat,
} from './weights';

/** Memory of a layer: key rows; compressed keys; projections of open windows, their gates with `ape` added; the indexer's own. */
export type CachePart = 'window' | 'entries' | 'openKv' | 'openGate' | 'indexEntries' | 'indexOpenKv' | 'indexOpenGate';

/** What all sequences remember, in pages. */
export interface KvCache {
  readonly specs: readonly LayerSpec[];
  /** Number of layers. */
  readonly layers: number;
  readonly bytes: number;
  /**
   * Memory of a layer, [pages*rows, width] f32, or bf16 where the layer holds keys so; another tensor after `grow`.
   * @throws UnsupportedError where a layer has no such part
   */
  part(layer: number, part: CachePart): Tensor;
  /** Makes room for `pages` pages of a kind; what they hold stays. Never inside a step. */
  grow(kind: PageKind, pages: number): void;
  /** Copies the first `rows` rows of a page to another, in all parts of all layers. */
  copyPage(kind: PageKind, from: number, to: number, rows: number): void;
  dispose(): void;
  [Symbol.dispose](): void;
}

/** A step as a backend keeps it: its rows, and which keys each of them sees. Made once, planned before each step. */
export interface Step {
  readonly rows: number;
  readonly sequences: number;
  /** [maxRows] i32 */
  readonly ids: Tensor;
  readonly positions: Tensor;
  readonly wantedRows: Tensor;
  dispose(): void;
  [Symbol.dispose](): void;
}

/** Rows in slot order as they were staged, on the host: see {@link Backend.readStaged}. */
export type StagedRows =
  | {
      readonly inputs: 'nvfp4';
      /** [slots, K/2] u8, even column in the low nibble; [slots, K/16] E4M3, row-major whatever the backend's own layout is. */
      readonly codes: Uint8Array;
      readonly sf: Uint8Array;
      /** [slots] global decode scales of rows that have their own; null with those of the experts. */
      readonly rowScale: Float32Array | null;
    }
  | {
      readonly inputs: 'f32' | 'bf16';
      /** [slots, K]; for bf16 rounded or not yet: a backend may do that when it multiplies. */
      readonly rows: Float32Array;
    };

/** See {@link Backend.w4a4Math}. */
export type W4a4Math = 'exact' | 'fast';

/** What stands for the arguments of operations of a backend. */
export interface Tensors {
  readonly f32: Tensor;
  readonly i32: Tensor;
  readonly u8: Tensor;
  readonly bf16: Tensor;
  readonly e4m3: Tensor;
  readonly linear: LinearWeight;
  readonly experts: ExpertsWeight;
  readonly staged: Staged;
  readonly router: RouterHandle;
  readonly rope: RopeHandle;
  readonly compressor: CompressorHandle;
  readonly cache: KvCache;
  readonly step: Step;
}

/** Memory of a device, whoever uses it. */
export interface DeviceMemory {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/**
 * Memory that files are read into on the way to a backend's weights. What is taken between two rewinds is packed before the second one; it is
 * handed out again when the backend has done with it.
 */
export interface ReadMemory {
  /** `bytes` bytes at the beginning of an ArrayBuffer. */
  take(bytes: number): Uint8Array;
  /** The next read begins. */
  rewind(): void;
  /** Reads from an open file to `out[at]` on, as `fs.readSync`; answers how many bytes were there. Undefined: `fs.readSync` it is. */
  readonly read?: ((file: number, out: Uint8Array, at: number, bytes: number, position: number) => number) | undefined;
  /** Frees it. Nothing that it handed out may be in use any more. */
  dispose(): void;
}

/**
 * What the model is written against: every operation of the list, and what makes their arguments. An operation writes to tensors of the
 * caller, allocates nothing, returns nothing that the host would have to read to know a later shape, and never waits for the device.
 */
export interface Backend extends Operations<Tensors> {
  /** `js`, `cpu`, `cuda`, or a name of your own. */
  readonly name: string;
  /** One line for people: instruction set, threads, and why. */
  readonly description: string;
  readonly threads: number;
  /**
   * How products of quantized rows are summed; left out: `exact`, rounded after every block of 16 and nowhere else. `fast`: in an order of its
   * own and more coarsely, within a bound.
   */
  readonly w4a4Math?: W4a4Math;

  /** A tensor of zeros. */
  alloc(dtype: Dtype, shape: readonly number[]): Tensor;
  /** A tensor with a copy of `data`: the caller may go on writing to it. */
  tensor(data: Float32Array | Int32Array | Uint8Array | Uint16Array, shape?: readonly number[]): Tensor;
  /** Copies `data[from, from + n)` to elements `at` on of `out`, before any later operation reads it. */
  upload(out: Tensor, at: number, data: ArrayLike<number>, from: number, n: number): void;
  /** Copies elements `[from, from + n)` to `out[at]` on, after all earlier operations; waits for them. Not inside a step. */
  download(
    x: Tensor,
    from: number,
    n: number,
    out: Float32Array | Int32Array | Uint8Array | Uint16Array,
    at: number,
  ): void;

  packLinear(source: LinearSource): LinearWeight;
  packExperts(source: ExpertsSource): ExpertsWeight;
  /** Room for a bounded number of experts, to be given to packExperts. */
  createExpertPool(shape: ExpertPoolShape): ExpertPool;
  /** Bytes that packed weights of a format take. */
  packedBytes(format: WeightFormat, matrices: number, n: number, k: number): number;
  /** Memory of the device that weights, buffers and pages go to; a backend without this keeps them in the memory of the process. */
  deviceMemory?(): DeviceMemory;
  /** Memory that weights are best read into; without this any will do. */
  createReadMemory?(): ReadMemory;
  packCompressor(ape: Float32Array, norm: Float32Array): CompressorHandle;
  createRope(spec: RopeSpec): RopeHandle;
  createRouter(spec: RouteSpec): RouterHandle;
  createStaged(spec: StagedSpec): Staged;
  /**
   * A copy of what was staged last, for judges and tests; waits for the device. Where a backend does not have it, staging is judged by the
   * products that follow it alone.
   */
  readStaged?(staged: Staged): StagedRows;

  /** How its caches can hold keys; left out: in float32 alone. */
  readonly kvDtypes?: readonly KvDtype[];
  /** @throws UnsupportedError for layers that hold keys as it cannot */
  createCache(layers: readonly LayerSpec[]): KvCache;
  createStep(maxRows: number): Step;
  /**
   * Takes in the rows of the next step and works out, once for each kind of layer, which keys each row sees. `rope` turns compressed
   * entries. Pages must have been reserved.
   */
  planStep(step: Step, rows: StepRows, cache: KvCache, rope: RopeHandle): void;

  /** Passes over logits on the host, for the sampler; null where the backend has none. */
  readonly logitsScan: LogitsScan | null;
  /** Frees what the backend itself holds. */
  dispose(): void;
}
