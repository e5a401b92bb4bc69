import { isMemory, type LimitKind } from './ceilings';
import type { Measured, Measuring } from './types';

/** The middle value; of an even number, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** Seconds that `work` takes, by the clock of this process. */
export function secondsOf(work: () => void): number {
  const started = performance.now();
  work();
  return Math.max(1e-7, (performance.now() - started) / 1000);
}

/** Work that a limit of the machine stands against. */
export interface Floor {
  readonly kind: LimitKind;
  /** Bytes or operations of one run. */
  readonly amount: number;
  /** So many bytes again and again, which stay in cache. */
  readonly hot?: number;
}

/** What {@link alternate} took. */
export interface Alternated {
  /** Median seconds of a run. */
  readonly seconds: number;
  /** Median rate of each floor's kind. */
  readonly rates: readonly number[];
}

/**
 * Runs `work` and one pass of each floor in turn (A B A B ...), after one round that is not counted, so that both see the same
 * machine; medians of each.
 */
export function alternate(c: Measuring, threads: number, work: () => void, floors: readonly Floor[]): Alternated {
  const budget = c.quick ? 0.05 : 2.5; // seconds
  const most = c.quick ? 5 : 61;
  let least = c.quick ? 1 : 5; // quick: as many as the budget holds
  const times: number[] = [];
  const rates: number[][] = floors.map(() => []);
  const end = performance.now() + budget * 1000;
  for (let i = -1; i < least || (i < most && performance.now() < end); i++) {
    c.signal.throwIfAborted();
    const seconds = c.seconds(work);
    const measured = floors.map((f) => c.ceilings.rate(f.kind, threads, f));
    if (i < 0) {
      if (seconds > 1) least = Math.min(least, seconds > 4 ? 1 : 3); // a run that long is steady, and nobody waits for ten of them
      continue;
    }
    times.push(seconds);
    measured.forEach((rate, f) => rates[f]!.push(rate));
  }
  return { seconds: median(times), rates: rates.map(median) };
}

/** Unit of a floor's rate, in thousands of millions a second. */
function unitOf(kind: LimitKind): string {
  if (isMemory(kind)) return 'GB/s';
  return kind === 'vpdpbusd' ? 'GOPS' : 'GFLOPS';
}

/**
 * Rate of `work` in the unit of the first floor, against the machine: the time of the floor that takes longest.
 */
export function compare(c: Measuring, threads: number, work: () => void, floors: readonly Floor[]): Measured {
  const { seconds, rates } = alternate(c, threads, work, floors);
  const floorSeconds = Math.max(...floors.map((f, i) => f.amount / rates[i]!));
  const { kind, amount } = floors[0]!;
  return { median: amount / seconds / 1e9, unit: unitOf(kind), ceiling: amount / floorSeconds / 1e9 };
}
