import type { Ops, Tensor } from '@megamoe/model';
import type { PendingDump } from './dump';
import { StopVerification, type Judged, type OpAt, type Recorder } from './recorder';
import type { Registry } from './sources';

/** Host data of a tensor. */
export type HostArray = Float32Array | Int32Array | Uint8Array;

/** A tensor that an operation writes, and how much of it. */
export interface Output {
  readonly tensor: Tensor;
  readonly n: number;
  /** It is read as well: what stands there is needed. */
  readonly inPlace?: boolean;
}

const POISON = { f32: NaN, i32: -0x55555556, u8: 0xa5 } as const;

function hostArray({ dtype }: Tensor, n: number): HostArray {
  return dtype === 'f32' ? new Float32Array(n) : dtype === 'i32' ? new Int32Array(n) : new Uint8Array(n);
}

/**
 * The eyes of the checker: reads inputs, poisons outputs, runs the backend's operation, reads results, and remembers what every tensor
 * held, so that an operation which writes where it should not is found, too.
 */
export class Watch {
  /** What each tensor held after it was last written, and by what. */
  private readonly known = new Map<Tensor, { data: HostArray; by: string }>();
  private readonly origins = new Map<Tensor, string>();
  private ran: string[] = [];
  /** Layer of the operation under way; null before and after the layers. */
  layer: number | null = null;
  /** Hyper-connection around the block under way: `hc_attn` or `hc_ffn`. */
  block = 'hc_attn';
  /** Positions of the step's rows. */
  positions: number[] = [];

  constructor(
    readonly inner: Ops,
    readonly registry: Registry,
    readonly recorder: Recorder,
  ) {}

  /** Where an operation with this weight stands; moves the layer under way there. */
  at(weight: object, suffix = ''): OpAt {
    const { layer, op } = this.registry.names.get(weight) ?? { layer: this.layer, op: 'unnamed' };
    this.layer = layer;
    return { layer, op: op + suffix };
  }

  /** The operation that last gave `x` its meaning: norms and rotations in place do not change it. */
  origin(x: Tensor): string {
    return this.origins.get(x) ?? 'unnamed';
  }

  /** A step begins: its uploads and tables belong to no layer. */
  note(x: Tensor, n: number, by: string): void {
    this.known.set(x, { data: this.fetch(x, n), by });
    this.origins.set(x, by);
  }

  private fetch(x: Tensor, n: number): HostArray {
    const out = hostArray(x, n);
    if (n > 0) this.inner.download(x, 0, n, out, 0);
    return out;
  }

  /** The first `n` elements of an input, which must still be what was last written there. */
  read(at: OpAt, x: Tensor, n: number): HostArray {
    const data = this.fetch(x, n);
    const before = this.known.get(x);
    if (!before || before.data.length < n) this.known.set(x, { data, by: before?.by ?? 'the load' });
    if (!before) return data;
    const i = firstDifference(data, before.data);
    if (i >= 0) {
      const between = this.ran.slice(this.ran.lastIndexOf(before.by) + 1);
      this.recorder.stop(
        at,
        `its input was changed after ${before.by} had written it: element ${i} was ${before.data[i]} and is ${data[i]}; ` +
          `one of these wrote outside its output: ${[...new Set(between)].slice(-8).join(', ') || 'none that was seen'}`,
      );
    }
    return data;
  }

  f32(at: OpAt, x: Tensor, n: number): Float32Array {
    return this.read(at, x, n) as Float32Array;
  }

  i32(at: OpAt, x: Tensor, n: number): Int32Array {
    return this.read(at, x, n) as Int32Array;
  }

  u8(at: OpAt, x: Tensor, n: number): Uint8Array {
    return this.read(at, x, n) as Uint8Array;
  }

  /** Runs the backend's operation: outputs poisoned before, read after; inputs must come out as they went in. */
  run(at: OpAt, inputs: readonly Tensor[], outputs: readonly Output[], op: () => void): HostArray[] {
    for (const { tensor, n, inPlace } of outputs) {
      if (inPlace || n === 0) continue;
      this.inner.upload(tensor, hostArray(tensor, n).fill(POISON[tensor.dtype]), n, 0);
    }
    this.guarded(at, op);
    const written = new Set(outputs.map((o) => o.tensor));
    const results = outputs.map(({ tensor, n, inPlace }) => {
      const data = this.fetch(tensor, n);
      this.known.set(tensor, { data, by: at.op });
      if (!inPlace) this.origins.set(tensor, at.op);
      return data;
    });
    this.ran.push(at.op);
    if (this.ran.length > 4096) this.ran = this.ran.slice(-2048);
    for (const x of inputs) {
      const before = this.known.get(x);
      if (written.has(x) || !before) continue;
      const i = firstDifference(this.fetch(x, before.data.length), before.data);
      if (i >= 0) this.recorder.stop(at, `it changed its own input, written by ${before.by}, at element ${i}`);
    }
    return results;
  }

  /** An error that the backend throws is a finding, too. */
  guarded<T>(at: OpAt, op: () => T): T {
    try {
      return op();
    } catch (e) {
      if (e instanceof StopVerification) throw e;
      return this.recorder.stop(at, `the backend threw: ${e instanceof Error ? e.message : String(e)}`);
    }
  }

  judge(at: OpAt, outputs: readonly Judged[], dump?: () => PendingDump | undefined): void {
    this.recorder.take(at, outputs, dump);
  }
}

/** Bit patterns are compared: NaN equals the same NaN. */
function firstDifference(a: HostArray, b: HostArray): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) if (!Object.is(a[i], b[i])) return i;
  return -1;
}
