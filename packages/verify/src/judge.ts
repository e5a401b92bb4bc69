import type { ModelConfig } from '@megamoe/checkpoint';
import type { Place } from '@megamoe/layers';
import type {
  Backend,
  Dtype,
  InputPrecision,
  OpArgs,
  OpName,
  RopeSpec,
  Staged,
  StagedRows,
  StagedSpec,
  Tensor,
  Tensors,
} from '@megamoe/ops';
import type { Call } from './call';
import type { CoverageNotes } from './coverage';
import type { SequenceHistory } from './history';
import type { LayerTap } from './whole-layers';
import { layerOf, type Names } from './names';
import type { Recorder, Verdict } from './recorder';
import type { Registry } from './registry';
import type { Judged, PendingDump } from './types';
import { Watch } from './watch';

/** Rows in slot order that were staged, as the reference has them, and the floats that they were made of. */
export interface StagedNote {
  readonly at: Verdict;
  /** [rows, k] before they were quantized. */
  readonly floats: Float32Array;
  readonly k: number;
  /** What must lie there; where the backend shows it, that is what does. */
  readonly rows: StagedRows;
  /** Static input scales of the experts, [E]. */
  readonly inputScales: Float32Array | null;
}

/** What a rotary table was made from. */
export interface RopeTable {
  readonly spec: RopeSpec;
  readonly positions: Int32Array;
}

/** What a judge is made from. */
export interface JudgeParts {
  /** The backend that is judged, without a judge around it. */
  readonly backend: Backend;
  readonly registry: Registry;
  readonly recorder: Recorder;
  readonly config: ModelConfig;
  readonly notes: CoverageNotes;
  readonly tap: LayerTap;
  /** Judge products and staging at the precisions, too, that the model does not use. */
  readonly everyPrecision: boolean;
}

/** What checks work with: the backend, what its handles were made from, where the step is, and who takes down what they find. */
export class Judge {
  readonly backend: Backend;
  readonly registry: Registry;
  readonly recorder: Recorder;
  readonly config: ModelConfig;
  readonly notes: CoverageNotes;
  readonly tap: LayerTap;
  readonly everyPrecision: boolean;
  readonly watch: Watch;
  /** Histories of the sequences of the step, in their order; the first is the one whose layers are checked as a whole. */
  sequences: readonly SequenceHistory[] = [];
  /** What each handle for staged rows holds. */
  readonly staged = new Map<Staged, StagedNote>();
  /** Rotary tables by their cosines: what they were made from. */
  readonly tables = new Map<Tensor, RopeTable>();
  readonly #once = new Set<string>();
  #running: { readonly names: Names; readonly place: Place } | null = null;

  constructor(parts: JudgeParts) {
    this.backend = parts.backend;
    this.registry = parts.registry;
    this.recorder = parts.recorder;
    this.config = parts.config;
    this.notes = parts.notes;
    this.tap = parts.tap;
    this.everyPrecision = parts.everyPrecision;
    this.watch = new Watch(parts.backend, parts.recorder);
  }

  /** Weights are packed and buffers made: these are their names, and where steps say that they are. */
  begin(names: Names, place: Place): void {
    this.#running = { names, place };
  }

  get names(): Names {
    return this.#now.names;
  }

  get place(): Place {
    return this.#now.place;
  }

  /** The layer that the step is in; null before the layers and after them. */
  get layer(): number | null {
    return layerOf(this.place);
  }

  /** Whether sums of quantized products stay in a tensor core: they have a bound instead of bits. */
  get isFast(): boolean {
    return this.backend.w4a4Math === 'fast';
  }

  get #now(): { readonly names: Names; readonly place: Place } {
    if (this.#running === null) throw new Error('an operation ran before the weights were packed');
    return this.#running;
  }

  /** Takes the outputs of a call. */
  take(at: Verdict, outputs: readonly Judged[], dump?: () => PendingDump | undefined): void {
    this.recorder.take(at, outputs, dump);
  }

  /** Whether this is asked for the first time with this key. */
  first(...key: readonly unknown[]): boolean {
    const text = key.join(' ');
    if (this.#once.has(text)) return false;
    this.#once.add(text);
    return true;
  }

  /**
   * Runs an operation once more, beside the model's own call: on inputs of the judge's, into buffers of the judge's, so that the model's
   * path stays as it is.
   */
  again<N extends OpName>(at: Verdict, name: N, args: OpArgs<N, Tensors>): Call<N> {
    const run = this.backend[name] as (args: OpArgs<N, Tensors>) => void;
    return this.watch.run(at, name, args, () => run.call(this.backend, args));
  }

  /** Tensors and handles of the judge's own, for as long as `use` takes. */
  scratch<T>(use: (made: Scratch) => T): T {
    const made = new Scratch(this.backend);
    try {
      return use(made);
    } finally {
      made.dispose((tensor) => this.watch.forget(tensor));
    }
  }

  /** Precisions that products and staging are judged at beside `used`; none where nobody wants to know. */
  otherPrecisions(used: InputPrecision, possible: readonly InputPrecision[]): readonly InputPrecision[] {
    return this.everyPrecision ? possible.filter((p) => p !== used) : [];
  }
}

/** What a check makes and gives back. */
export class Scratch {
  readonly #tensors: Tensor[] = [];
  readonly #staged: Staged[] = [];

  constructor(private readonly backend: Backend) {}

  alloc(dtype: Dtype, shape: readonly number[]): Tensor {
    return this.#kept(this.backend.alloc(dtype, shape));
  }

  tensor(data: Float32Array | Int32Array, shape?: readonly number[]): Tensor {
    return this.#kept(this.backend.tensor(data, shape));
  }

  staged(spec: StagedSpec): Staged {
    const made = this.backend.createStaged(spec);
    this.#staged.push(made);
    return made;
  }

  dispose(forget: (tensor: Tensor) => void): void {
    for (const tensor of this.#tensors) {
      forget(tensor);
      tensor.dispose();
    }
    for (const staged of this.#staged) staged.dispose();
  }

  #kept(tensor: Tensor): Tensor {
    this.#tensors.push(tensor);
    return tensor;
  }
}

/** How an operation is judged. */
export interface Check<N extends OpName> {
  /** Where a call stands, before it runs. */
  at(args: OpArgs<N, Tensors>, judge: Judge): Verdict;
  /** Takes what a call did to the recorder. */
  judge(call: Call<N>, at: Verdict, judge: Judge): void;
}

/** A check for every operation of the list. */
export type Checks = { readonly [N in OpName]: Check<N> };
