/** A problem whose output is one float tensor, seen as [M, N] and computed sample by sample. */
import { judgeFloats, sampleOf, type Cost, type Prediction, type Sample } from './compare';
import type { Floats } from './dump';
import type { Candidate, Judged, Problem, Scope } from './types';

/** A mistake whose float32 errors may be as large as this part of the output explains nothing: anything would fit. */
const MOST_BLUR = 0.05;

/** A computation: what it says about a sample. */
export type Predict = (sample: Sample) => Prediction;

/** A mistake as a computation. */
export interface FloatCandidate {
  readonly id: string;
  readonly predict: Predict;
  readonly rank?: 0 | 1;
  readonly reading?: string;
  readonly detail?: string;
  readonly confirmed?: boolean;
}

/** Makes a {@link Problem} of computations that predict samples of `output`, seen as [M, N]. */
export function floatProblem(args: {
  readonly output: Floats;
  readonly m: number;
  readonly n: number;
  readonly cost: Cost;
  readonly right: Predict;
  readonly candidates: readonly FloatCandidate[];
  readonly notes?: readonly string[];
}): Problem {
  const { output, m, n, cost, right, candidates, notes = [] } = args;
  const misfits = { rows: new Set<number>(), columns: new Set<number>() };
  const samples = new Map<Scope, Sample>();
  const sample = (scope: Scope): Sample => {
    let s = samples.get(scope);
    if (!s) samples.set(scope, (s = sampleOf(scope, { m, n }, cost, misfits)));
    return s;
  };
  let fullRight: Judged | undefined; // its misfits steer the small sample, so it is judged once, and first
  let screenedRight: Judged | undefined;
  const judgeRight = (scope: Scope): Judged => {
    const s = sample('full');
    fullRight ??= judgeFloats(output, n, s, right(s), misfits);
    if (scope === 'full') return fullRight;
    return (screenedRight ??= judgeFloats(output, n, sample(scope), right(sample(scope))));
  };
  return {
    elements: output.data.length,
    right: { judge: judgeRight },
    notes,
    candidates: candidates.map((c): Candidate => {
      const known = new Map<Sample, Judged>();
      return {
        id: c.id,
        rank: c.rank ?? 0,
        reading: c.reading ?? '',
        ...(c.detail === undefined ? {} : { detail: c.detail }),
        confirmed: c.confirmed ?? false,
        judge: (scope) => {
          judgeRight('full');
          const s = sample(scope);
          let judged = known.get(s);
          if (!judged) {
            const { blur, ...compared } = judgeFloats(output, n, s, c.predict(s));
            judged =
              blur <= MOST_BLUR || compared.tier === 'no'
                ? compared
                : { ...compared, tier: 'no', outside: compared.compared };
            known.set(s, judged);
          }
          return judged;
        },
      };
    }),
  };
}
