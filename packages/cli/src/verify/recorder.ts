import { compareTensors, coordinatesOf, ulpDistance } from '@megamoe/reference';
import type { Bound, Metric } from './bounds';
import type { PendingDump } from './dump';

/** Which operation of which layer; layer null: before or after the layers. */
export interface OpAt {
  readonly layer: number | null;
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
  mistakes?: readonly string[];
  /** File for `megamoe explain`, when one was written. */
  dump?: string;
}

/** All calls of one operation of one layer. */
export interface OpSummary extends OpAt {
  calls: number;
  elements: number;
  passed: boolean;
  metric: Metric;
  /** The call that used most of its bound: its error and the bound that it had. */
  error: number;
  bound: number;
  reason: string;
  /** Over all calls; null where outputs are no numbers to subtract. */
  cosine: number | null;
  nmse: number | null;
  maxAbs: number | null;
  maxUlp: number | null;
  /** W4A4: largest distance from the exact product, in ulp of the result. */
  ulpFromExact: number | null;
  worst: WorstElement | null;
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

/** Thrown out of a step when the first operation is out of bound and nobody wants to know more. */
export class StopVerification extends Error {
  override readonly name = 'StopVerification';
}

const ROUNDING = 2 ** -24;

/** Collects what every call of every operation was worth. */
export class Recorder {
  readonly ops = new Map<string, OpSummary>();
  readonly findings: Finding[] = [];
  /** What the findings were given and gave, where `explain` knows the operation. */
  readonly dumps: { finding: Finding; pending: PendingDump }[] = [];
  step: StepAt = { kind: 'prefill', position: 0, tokens: 0 };

  constructor(private readonly keepGoing: boolean) {}

  /** Takes the outputs of one call. The first that is out of bound ends the run, unless it is to go on; `dump` then writes a file. */
  take(at: OpAt, outputs: readonly Judged[], dump?: () => PendingDump | undefined): void {
    const summary = this.summary(at);
    summary.calls++;
    let failed: Finding | undefined;
    for (const o of outputs) {
      const { error, worst } = measure(o);
      const passed = error <= o.bound.limit; // false for NaN
      this.add(summary, o, error, worst, passed);
      const { metric, limit: bound, reason } = o.bound;
      if (!passed) failed ??= { ...at, step: this.step, output: o.output, metric, error, bound, reason, worst };
    }
    if (failed) this.fail(failed, dump);
  }

  /** An operation that threw, or changed what it should not: always the end of the run. */
  stop(at: OpAt, message: string): never {
    const summary = this.summary(at);
    summary.passed = false;
    summary.error = Infinity;
    const rest = { output: '', metric: 'mismatches', error: Infinity, bound: 0, reason: '', worst: null } as const;
    this.findings.push({ ...at, ...rest, step: this.step, message });
    throw new StopVerification(message);
  }

  private fail(finding: Finding, dump?: () => PendingDump | undefined): void {
    // One dump is enough: the first failure of an operation shows what its others do.
    const known = this.findings.some((f) => f.layer === finding.layer && f.op === finding.op);
    if (known) return;
    this.findings.push(finding);
    const pending = dump?.();
    if (pending) this.dumps.push({ finding, pending });
    if (!this.keepGoing) throw new StopVerification(`${finding.op} is out of bound`);
  }

  private summary({ layer, op }: OpAt): OpSummary {
    const key = `${layer} ${op}`;
    let s = this.ops.get(key);
    if (!s) {
      s = {
        ...{ layer, op, calls: 0, elements: 0, passed: true, metric: 'mismatches', error: 0, bound: 0, reason: '' },
        ...{ cosine: null, nmse: null, maxAbs: null, maxUlp: null, ulpFromExact: null, worst: null },
      };
      this.ops.set(key, s);
    }
    return s;
  }

  private add(s: OpSummary, o: Judged, error: number, worst: WorstElement | null, passed: boolean): void {
    const { metric, limit, reason } = o.bound;
    const share = shareOf(error, limit);
    if (
      s.reason === '' ||
      !(share <= shareOf(s.error, s.bound)) ||
      (share === 0 && s.metric === 'mismatches' && metric !== 'mismatches')
    ) {
      Object.assign(s, { metric, error, bound: limit, reason, worst });
    }
    s.elements += o.got.length;
    s.passed &&= passed;
    if (metric === 'mismatches') return;
    const c = compareTensors(o.got, o.want, o.shape);
    s.cosine = Math.min(s.cosine ?? 1, c.cosine);
    s.nmse = Math.max(s.nmse ?? 0, c.nmse);
    s.maxAbs = Math.max(s.maxAbs ?? 0, c.nonFinite > 0 ? Infinity : c.maxAbs);
    s.maxUlp = Math.max(s.maxUlp ?? 0, c.nonFinite > 0 ? Infinity : c.maxUlp);
    if (o.exact) s.ulpFromExact = Math.max(s.ulpFromExact ?? 0, ulpFromExact(o.got, o.exact));
  }
}

/** Part of a bound that an error uses: 1 is the most; any error against a bound of 0 is infinite. */
export function shareOf(error: number, bound: number): number {
  return error === 0 ? 0 : error / bound;
}

/** Distance of float32 results from exact ones, in ulp of the result. */
function ulpFromExact(got: ArrayLike<number>, exact: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < got.length; i++) {
    const magnitude = Math.max(Math.abs(exact[i]!), 2 ** -126);
    const ulp = 2 ** (Math.floor(Math.log2(magnitude)) - 23);
    worst = Math.max(worst, Math.abs(got[i]! - exact[i]!) / ulp);
  }
  return worst;
}

function measure({ got, want, shape, bound, scale }: Judged): { error: number; worst: WorstElement | null } {
  if (bound.metric === 'nmse') {
    const c = compareTensors(got, want, shape);
    const { worst } = c;
    return {
      error: c.nonFinite > 0 ? Infinity : c.nmse,
      worst: worst ? { index: worst.at, got: worst.got, want: worst.want } : null,
    };
  }
  let error = 0;
  let differing = 0;
  let at = -1;
  for (let i = 0; i < got.length; i++) {
    const [g, w] = [got[i]!, want[i]!];
    let e = 0;
    if (bound.metric === 'mismatches') e = Object.is(g, w) || g === w ? 0 : 1;
    else if (bound.metric === 'ulp') e = ulpDistance(g, w);
    else if (g !== w) e = Math.abs(g - w) / (scale!(i) * ROUNDING);
    if (Number.isNaN(e)) e = Infinity; // NaN, or infinity where a number belongs
    if (e > 0) differing++;
    if (e > error || (e > 0 && at < 0)) [error, at] = [e, i];
  }
  const worst = at < 0 ? null : { index: coordinatesOf(at, shape), got: got[at]!, want: want[at]! };
  return { error: bound.metric === 'mismatches' ? differing : error, worst };
}
