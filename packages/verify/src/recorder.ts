import { compareTensors } from '@megamoe/reference';
import type { InputPrecision, OpName } from '@megamoe/ops';
import { measure, shareOf, ulpFromExact, type Measured } from './measure';
import {
  StopVerification,
  type Finding,
  type Judged,
  type OpAt,
  type OpSummary,
  type PendingDump,
  type StepAt,
} from './types';

/** Which call is judged. */
export interface Verdict extends OpAt {
  readonly operation: OpName | null;
  readonly inputs?: InputPrecision;
}

type Open<T> = { -readonly [K in keyof T]: T[K] };
type Summary = Open<OpSummary>;

/** A finding, and what the operation was given and gave where `explain` knows it. */
export interface Found {
  readonly finding: Finding;
  readonly dump: PendingDump | undefined;
}

/** Collects what every call of every operation was worth. */
export class Recorder {
  readonly found: Found[] = [];
  step: StepAt = { kind: 'prefill', position: 0, tokens: 0 };
  readonly #summaries = new Map<string, Summary>();

  /** @param keepGoing go on after an operation that is out of bound */
  constructor(private readonly keepGoing: boolean) {}

  /** Every operation of every layer, in the order of their first calls. */
  get ops(): readonly OpSummary[] {
    return [...this.#summaries.values()];
  }

  /** Takes the outputs of one call. The first that is out of bound ends the run, unless it is to go on. */
  take(verdict: Verdict, outputs: readonly Judged[], dump?: () => PendingDump | undefined): void {
    const summary = this.#summary(verdict);
    summary.calls++;
    const { layer, op, operation } = verdict;
    let failed: Finding | undefined;
    for (const o of outputs) {
      const measured = measure(o);
      const { error, worst } = measured;
      const passed = error <= o.bound.limit;
      add(summary, o, measured, passed);
      const { metric, limit: bound, reason } = o.bound;
      const { step } = this;
      if (!passed) failed ??= { layer, op, operation, step, output: o.output, metric, error, bound, reason, worst };
    }
    if (failed) this.#fail(failed, dump);
  }

  /** An operation that threw, or changed what it should not: always the end of the run. */
  stop(verdict: Verdict, message: string): never {
    const summary = this.#summary(verdict);
    summary.passed = false;
    summary.error = Infinity;
    const { layer, op, operation } = verdict;
    const rest = { output: '', metric: 'mismatches', error: Infinity, bound: 0, reason: '', worst: null } as const;
    this.found.push({ finding: { layer, op, operation, ...rest, step: this.step, message }, dump: undefined });
    throw new StopVerification(message);
  }

  #fail(finding: Finding, dump?: () => PendingDump | undefined): void {
    // One is enough: the first failure of an operation shows what its others do.
    const known = this.found.some(({ finding: f }) => f.layer === finding.layer && f.op === finding.op);
    if (known) return;
    this.found.push({ finding, dump: dump?.() });
    if (!this.keepGoing) throw new StopVerification(`${finding.op} is out of bound`);
  }

  #summary({ layer, op, operation, inputs }: Verdict): Summary {
    const key = `${layer} ${op}`;
    let s = this.#summaries.get(key);
    if (!s) {
      s = {
        ...{ layer, op, operation, inputs: inputs ?? null, calls: 0, elements: 0, passed: true },
        ...{ metric: 'mismatches', error: 0, bound: 0, reason: '', worst: null },
        ...{ cosine: null, nmse: null, maxAbs: null, maxUlp: null, ulpFromExact: null },
      };
      this.#summaries.set(key, s);
    }
    return s;
  }
}

/** Takes an output into the summary of its operation. */
function add(s: Summary, o: Judged, { error, worst }: Measured, passed: boolean): void {
  const { metric, limit, reason } = o.bound;
  const share = shareOf(error, limit);
  if (
    s.reason === '' ||
    !(share <= shareOf(s.error, s.bound)) ||
    (share === 0 && s.error === 0 && s.metric === 'mismatches' && metric !== 'mismatches')
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
