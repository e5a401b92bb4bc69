/** A problem whose output is one float tensor, seen as [M, N] and computed sample by sample. */
import { judgeFloats, type Prediction } from './compare';
import { narrowest } from './dtypes';
import type { Floats } from './dump';
import { FLOAT32, storedFrom, type Level } from './levels';
import { coverage, samplesOf, standouts, type Cost, type Marks, type Sample } from './sample';
import type { Candidate, Judged, Problem, Scope } from './types';

/** A mistake whose float32 errors may be as large as this part of the output explains nothing: anything would fit. */
const MOST_BLUR = 0.05;

/** A computation: what it says about a sample when it rounds as `level` does. */
export type Predict = (sample: Sample, level: Level) => Prediction;

/** A mistake as a computation. */
export interface FloatCandidate {
  readonly id: string;
  readonly predict: Predict;
  readonly rank?: 0 | 1;
  readonly reading?: string;
  readonly detail?: string;
  readonly confirmed?: boolean;
}

/**
 * The levels of an output. When a float32 tensor holds nothing but numbers of a narrower dtype, it was rounded to that before it was
 * stored, and every level but plain float32 ends so.
 */
function levelsFor(output: Floats, levels: readonly Level[]): [Level, ...Level[]] {
  const [, ...others] = levels;
  const out = output.dtype === 'F32' ? narrowest(output.data) : undefined;
  if (out === undefined) return [FLOAT32, ...others];
  return [FLOAT32, storedFrom(out, FLOAT32), ...others.map((level) => storedFrom(out, level))];
}

/** Makes a {@link Problem} of computations that predict samples of `output`, seen as [M, N]. */
export function floatProblem(args: {
  readonly output: Floats;
  readonly m: number;
  readonly n: number;
  /** Rows that belong together: heads of a position. */
  readonly inner?: number;
  readonly cost: Cost;
  readonly right: Predict;
  readonly candidates: readonly FloatCandidate[];
  readonly notes?: readonly string[];
  /** Beside float32; see `levelsOf`. */
  readonly levels?: readonly Level[];
}): Problem {
  const { output, m, n, inner = 1, cost, right, candidates, notes = [] } = args;
  const levels = levelsFor(output, args.levels ?? [FLOAT32]);
  const grid = { m, n, inner };
  const misfits: Marks = { rows: new Set(), columns: new Set() };
  const samples = new Map<Scope, readonly Sample[]>();
  /** The misfits of the right computation steer the smaller samples. */
  const sample = (scope: Scope): readonly Sample[] => {
    let s = samples.get(scope);
    if (s) return s;
    s = samplesOf(scope, grid, cost, misfits);
    const all = (of: readonly Sample[]): boolean => of[0]!.rows.length === m && of[0]!.columns.length === n;
    if (scope !== 'full' && all(s))
      s = sample('full'); // judged once
    else if (scope === 'full' && !all(s)) s = samplesOf(scope, grid, cost, standouts(output.data, grid));
    samples.set(scope, s);
    return s;
  };
  /** Judges a computation once for each sample and level. */
  const judgeOf = (predict: Predict, options: { misfits?: Marks } = {}) => {
    const known = new Map<readonly Sample[], Map<Level, Judged>>();
    return (scope: Scope, level: Level): Judged => {
      const s = sample(scope);
      let bySample = known.get(s);
      if (!bySample) known.set(s, (bySample = new Map()));
      let judged = bySample.get(level);
      if (judged) return judged;
      const { blur, ...compared } = judgeFloats(output, n, s, (part) => predict(part, level), {
        ...options,
        dtype: level.out,
      });
      judged = blur <= MOST_BLUR || options.misfits ? compared : blurred(compared);
      bySample.set(level, judged);
      return judged;
    };
  };
  // Its misfits steer the smaller samples, so the right computation is judged first, and in full.
  const judgeInFull = judgeOf(right, { misfits });
  const judgeRight = judgeOf(right);
  const judgeFirst = (): Judged => judgeInFull('full', FLOAT32);
  return {
    elements: output.data.length,
    coverage: () => coverage(grid, sample('full')),
    levels,
    right: {
      judge: (scope, level) => {
        const first = judgeFirst();
        return scope === 'full' && level === FLOAT32 ? first : judgeRight(scope, level);
      },
    },
    notes,
    candidates: candidates.map((c): Candidate => {
      const judge = judgeOf(c.predict);
      return {
        id: c.id,
        rank: c.rank ?? 0,
        reading: c.reading ?? '',
        ...(c.detail === undefined ? {} : { detail: c.detail }),
        confirmed: c.confirmed ?? false,
        judge: (scope, level) => {
          judgeFirst();
          return judge(scope, level);
        },
      };
    }),
  };
}

/** Not to be told from the output, and from anything else neither. */
function blurred(judged: Judged): Judged {
  return judged.tier === 'no' ? judged : { ...judged, tier: 'no', outside: judged.compared };
}
