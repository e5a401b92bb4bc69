import { measureCeiling, type CeilingKind } from '@megamoe/gemm-native';

/** A limit: one of the processor, or `mma`: the matrix products of a GPU. */
export type LimitKind = CeilingKind | 'mma';

const MEMORY: readonly LimitKind[] = ['read', 'copy', 'max'];

/** How a ceiling is measured. */
export interface CeilingWork {
  /** Bytes or operations of a pass; the pass that is done has about as many, within what makes sense. */
  readonly amount: number;
  /** So many bytes again and again, which stay in cache, instead of bytes from memory. */
  readonly hot?: number;
}

/** Limits of what computes. */
export interface Limits {
  /** One pass; its rate per second. */
  rate(kind: LimitKind, threads: number, work: CeilingWork): number;
}

/** True for ceilings in bytes per second; the others are in operations per second. */
export const isMemory = (kind: LimitKind): boolean => MEMORY.includes(kind);

const clamp = (x: number, low: number, high: number): number => Math.round(Math.min(high, Math.max(low, x)));

/**
 * The machine's limits. Without the addon, plain loops in TypeScript stand in for them; where the processor lacks an integer or BF16
 * dot product, the float32 peak does.
 */
export class Ceilings {
  private readonly loops = new Loops();

  /** Whether the processor itself has it; else {@link rate} answers with a stand-in. */
  has(kind: CeilingKind): boolean {
    return isMemory(kind) || measureCeiling(kind, { operations: 1 }) !== undefined;
  }

  /** One pass; its rate per second. */
  rate(kind: CeilingKind, threads: number, { amount, hot }: CeilingWork): number {
    const memory = isMemory(kind);
    const bytes = clamp(amount, hot === undefined ? 2 ** 19 : 4096, 2 ** 28);
    const operations = clamp(amount, threads * 2 ** 27, threads * 2 ** 30);
    const span = hot === undefined ? 2 ** 28 : hot * (kind === 'copy' ? 2 : 1);
    const options = memory ? { threads, bytes, span } : { threads, operations };
    return (
      measureCeiling(kind, options) ??
      (memory ? undefined : measureCeiling('fma', options)) ??
      this.loops.rate(kind, clamp(Math.min(amount, hot ?? amount), 4096, 2 ** 24), hot !== undefined)
    );
  }
}

/** What JavaScript itself can do, on one thread: the floors where there is no addon. */
class Loops {
  private readonly block = new Float64Array(2 ** 23).fill(0.75); // 64 MiB
  private readonly to = new Float64Array(2 ** 23);
  private at = 0;
  /** Keeps the loops from being optimized away. */
  sink = 0;

  rate(kind: CeilingKind, amount: number, hot: boolean): number {
    const n = Math.ceil(amount / 8);
    if (hot || this.at + n > this.block.length) this.at = 0;
    const part = this.block.subarray(this.at, this.at + n);
    const started = performance.now();
    if (kind === 'copy') this.to.set(part, this.at);
    else if (kind === 'max') this.sink = largest(part);
    else if (kind === 'read') this.sink = sum(part);
    else this.sink = multiplyAdds(amount / 16);
    const seconds = Math.max(1e-7, (performance.now() - started) / 1000);
    this.at += n;
    return (isMemory(kind) ? n * 8 : Math.ceil(amount / 16) * 16) / seconds;
  }
}

function sum(x: Float64Array): number {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i + 3 < x.length; i += 4) {
    a += x[i]!;
    b += x[i + 1]!;
    c += x[i + 2]!;
    d += x[i + 3]!;
  }
  return a + b + c + d;
}

function largest(x: Float64Array): number {
  let best = -Infinity;
  for (let i = 0; i < x.length; i++) if (x[i]! > best) best = x[i]!;
  return best;
}

/** Rounds of eight multiply-adds that do not wait for each other. */
function multiplyAdds(rounds: number): number {
  let [a, b, c, d, e, f, g, h] = [1, 1, 1, 1, 1, 1, 1, 1];
  for (let i = 0; i < rounds; i++) {
    a = a * 0.5 + 1;
    b = b * 0.5 + 1;
    c = c * 0.5 + 1;
    d = d * 0.5 + 1;
    e = e * 0.5 + 1;
    f = f * 0.5 + 1;
    g = g * 0.5 + 1;
    h = h * 0.5 + 1;
  }
  return a + b + c + d + e + f + g + h;
}
