import type { Backend, HostArray, OpArgs, OpName, Tensor, Tensors } from '@megamoe/ops';
import { hostArrayFor, tensorsOf, type Call, type Held, type TensorArg } from './call';
import type { Recorder, Verdict } from './recorder';
import { StopVerification } from './types';

/** What outputs hold before an operation: nothing that it could have written. */
const POISON = { f32: NaN, i32: -0x55555556, u8: 0xa5, bf16: 0x7fc1, e4m3: 0xa5 } as const;

/** Calls whose names are kept, to say which of them may have written where they should not. */
const REMEMBERED = 2048;

/**
 * The eyes of the judge: reads inputs, poisons outputs, runs the backend's operation, reads results, and remembers what every tensor held,
 * so that an operation which writes where it should not is found, too.
 */
export class Watch {
  /** What each tensor held after it was last written, and by what. */
  readonly #known = new Map<Tensor, { readonly data: HostArray; readonly by: string }>();
  #ran: string[] = [];

  constructor(
    readonly backend: Backend,
    readonly recorder: Recorder,
  ) {}

  /** The first `n` elements of a tensor, whatever they are. */
  fetch(x: Tensor, n: number, from = 0): HostArray {
    const out = hostArrayFor(x, n);
    if (n > 0) this.backend.download(x, from, n, out, 0);
    return out;
  }

  /** Takes what stands in a tensor for what belongs there. */
  note(x: Tensor, n: number, by: string): void {
    this.#known.set(x, { data: this.fetch(x, n), by });
  }

  /** A tensor that is gone. */
  forget(x: Tensor): void {
    this.#known.delete(x);
  }

  /** Runs an operation: outputs poisoned before, read after; inputs must be what was last written to them, and come out as they went in. */
  run<N extends OpName>(at: Verdict, name: N, args: OpArgs<N, Tensors>, run: () => void): Call<N> {
    const tensors = tensorsOf(name, args);
    const read = new Set(tensors.filter((t) => t.access !== 'writes').map((t) => t.tensor));
    const before: Record<string, HostArray | null> = nothing(args);
    const after: Record<string, HostArray | null> = nothing(args);
    for (const t of tensors) {
      if (t.access !== 'writes' || read.has(t.tensor)) before[t.arg] = this.#read(at, t);
      else before[t.arg] = this.#poison(t);
    }
    this.guarded(at, run);
    const written = tensors.filter((t) => t.access !== 'reads');
    for (const { arg, tensor, n } of written) {
      const data = this.fetch(tensor, n);
      after[arg] = data;
      this.#known.set(tensor, { data, by: at.op });
    }
    this.#ran.push(at.op);
    if (this.#ran.length > 2 * REMEMBERED) this.#ran = this.#ran.slice(-REMEMBERED);
    const changed = new Set(written.map((t) => t.tensor));
    for (const t of tensors) {
      if (changed.has(t.tensor)) {
        after[t.arg] ??= this.#known.get(t.tensor)!.data;
        continue;
      }
      after[t.arg] = before[t.arg]!;
      this.#checkUnchanged(at, t.tensor);
    }
    return { args, before: before as unknown as Held<N>, after: after as unknown as Held<N> };
  }

  /** An error that the backend throws is a finding, too. */
  guarded<T>(at: Verdict, op: () => T): T {
    try {
      return op();
    } catch (e) {
      if (e instanceof StopVerification) throw e;
      return this.recorder.stop(at, `the backend threw: ${e instanceof Error ? e.message : String(e)}`);
    }
  }

  /** Stops when data that `by` wrote are no longer what they were. */
  checkSame(at: Verdict, what: string, by: string, before: HostArray, now: HostArray): void {
    const i = firstDifference(now, before);
    if (i < 0) return;
    const between = this.#ran.slice(this.#ran.lastIndexOf(by) + 1);
    this.recorder.stop(
      at,
      `${what} was changed after ${by} had written it: element ${i} was ${before[i]} and is ${now[i]}; ` +
        `one of these wrote outside its output: ${[...new Set(between)].slice(-8).join(', ') || 'none that was seen'}`,
    );
  }

  #read(at: Verdict, { tensor, n }: TensorArg): HostArray {
    const data = this.fetch(tensor, n);
    const before = this.#known.get(tensor);
    if (!before || before.data.length < n) this.#known.set(tensor, { data, by: before?.by ?? 'the load' });
    if (before) this.checkSame(at, 'its input', before.by, before.data, data);
    return data;
  }

  #poison({ tensor, n }: TensorArg): HostArray {
    const poison = hostArrayFor(tensor, n).fill(POISON[tensor.dtype]);
    if (n > 0) this.backend.upload(tensor, 0, poison, 0, n);
    return poison;
  }

  #checkUnchanged(at: Verdict, tensor: Tensor): void {
    const before = this.#known.get(tensor);
    if (!before) return;
    const i = firstDifference(this.fetch(tensor, before.data.length), before.data);
    if (i >= 0) this.recorder.stop(at, `it changed its own input, written by ${before.by}, at element ${i}`);
  }
}

/** Null for every argument. */
function nothing(args: object): Record<string, null> {
  return Object.fromEntries(Object.keys(args).map((arg) => [arg, null]));
}

/** NaN equals NaN here, 0 does not equal -0. */
function firstDifference(a: HostArray, b: HostArray): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) if (!Object.is(a[i], b[i])) return i;
  return -1;
}
