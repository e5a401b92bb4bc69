/** Which computation reproduces an output, and at which level of rounding: the right one, or those of mistakes. */
import type { Level } from './levels';
import type { Candidate, Judged, Problem, Scope } from './types';

/** A candidate and how it was judged. */
export interface Tried {
  readonly candidate: Candidate;
  readonly judged: Judged;
  /** What {@link judged} was compared on. */
  readonly scope: Scope;
  /** Place in the catalogue. */
  readonly order: number;
}

/** What was found. */
export interface Found {
  readonly agrees: boolean;
  /** Where what reproduces the output rounds; undefined: nothing does. */
  readonly level: Level | undefined;
  /** Within one step of the output's dtype, not within rounding. */
  readonly loosely: boolean;
  /** Mistakes that reproduce it, best first. */
  readonly listed: readonly Tried[];
  /** All that were tried, at the first level. */
  readonly tried: readonly Tried[];
}

/** A mistake is tried at other levels when its relative squared error is below this: rounding to BF16, and NVFP4 after it, add less. */
const PLAUSIBLE = 0.05;

/** One computation is clearly nearer than another when its squared error is this many times smaller. */
const CLEARLY = 8;

/** What must be between a mistake within the error of a bounded level and the right computation, which is not within it. */
const NEARER = 2;

/** Best of each id first: smallest error; errors within 1 % are equal, then the order of the catalogue decides. */
export function best(tried: readonly Tried[]): Tried[] {
  const place = ({ candidate: { confirmed = false, rank }, order }: Tried): number =>
    (confirmed ? 0 : 1e6) + rank * 1e5 + order;
  const sorted = [...tried].sort((a, b) => a.judged.nmse - b.judged.nmse || place(a) - place(b));
  const out: Tried[] = [];
  for (let i = 0; i < sorted.length;) {
    const limit = sorted[i]!.judged.nmse * 1.01;
    let end = i + 1;
    while (end < sorted.length && sorted[end]!.judged.nmse <= limit) end++;
    out.push(...sorted.slice(i, end).sort((a, b) => place(a) - place(b)));
    i = end;
  }
  const seen = new Set<string>();
  return out.filter(({ candidate: { id } }) => !seen.has(id) && seen.add(id));
}

/** Candidates of a rank: a small sample first, those that survive it in full. */
function* tryRank(problem: Problem, rank: 0 | 1, level: Level): Generator<void, Tried[]> {
  const tried: Tried[] = [];
  for (const [order, candidate] of problem.candidates.entries()) {
    if (candidate.rank !== rank) continue;
    yield;
    const screened = candidate.judge('screen', level);
    if (screened.tier === 'no') tried.push({ candidate, order, judged: screened, scope: 'screen' });
    else tried.push({ candidate, order, judged: candidate.judge('full', level), scope: 'full' });
  }
  return tried;
}

/** The comparison in full of a computation that fits tightly at a level; samples that cost less first. */
function fitAt({ judge }: Pick<Candidate, 'judge'>, level: Level): Judged | undefined {
  if (judge('probe', level).tier !== 'tight' || judge('screen', level).tier !== 'tight') return undefined;
  const judged = judge('full', level);
  return judged.tier === 'tight' ? judged : undefined;
}

function fitting(tried: readonly Tried[], level: Level): Tried[] {
  return tried.flatMap((t): Tried[] => {
    const judged = fitAt(t.candidate, level);
    return judged ? [{ ...t, judged, scope: 'full' }] : [];
  });
}

/** An upper bound of how often {@link search} yields. */
export function stepsOf({ candidates, levels }: Problem): number {
  return candidates.length + 2 * levels.length;
}

/**
 * In the order of how much a fit says: the right computation in float32, mistakes in float32; the right computation and then mistakes at
 * exact levels; last what fits within one step of the dtype or within the error of a bounded level, where the right computation is taken
 * unless a mistake is clearly nearer.
 */
export function* search(problem: Problem): Generator<void, Found> {
  const [base, ...others] = problem.levels;
  const [exact, bounded] = [others.filter((l) => l.bounded.size === 0), others.filter((l) => l.bounded.size > 0)];
  const tried: Tried[] = [];
  const agrees = (level: Level, loosely = false): Found => ({ agrees: true, level, loosely, listed: [], tried });
  const mistaken = (listed: readonly Tried[], level: Level, loosely = false): Found => ({
    ...{ agrees: false, level, loosely, tried },
    listed: best(listed),
  });

  const right = problem.right.judge('full', base);
  if (right.tier === 'tight') return agrees(base);
  for (const rank of [0, 1] as const) {
    tried.push(...(yield* tryRank(problem, rank, base)));
    const fits = tried.filter(({ judged }) => judged.tier === 'tight');
    if (fits.length > 0) return mistaken(fits, base);
  }

  for (const level of exact) {
    yield;
    if (fitAt(problem.right, level)) return agrees(level);
  }
  const plausible = tried.filter(({ judged }) => judged.nmse < PLAUSIBLE);
  for (const level of exact) {
    yield;
    for (const rank of [0, 1] as const) {
      const fits = fitting(
        plausible.filter(({ candidate }) => candidate.rank === rank),
        level,
      );
      if (fits.length > 0) return mistaken(fits, level);
    }
  }

  const nearer = plausible.some(({ judged, scope }) => judged.nmse * CLEARLY < problem.right.judge(scope, base).nmse);
  if (right.tier === 'loose' && !nearer) return agrees(base, true);
  for (const level of bounded) {
    yield;
    const fits = best(fitting(plausible, level));
    if (fits.length === 0 && !fitAt(problem.right, level)) continue;
    const limit = problem.right.judge('full', level).nmse / (fitAt(problem.right, level) ? CLEARLY : NEARER);
    const found = fits.filter(({ judged }) => judged.nmse < limit && judged.nmse <= fits[0]!.judged.nmse * 1.5);
    if (found.length > 0) return mistaken(found, level);
    if (fitAt(problem.right, level)) return agrees(level);
  }
  const loose = tried.filter(({ judged }) => judged.tier === 'loose');
  if (loose.length > 0) return mistaken(loose, base, true);
  return right.tier === 'loose'
    ? agrees(base, true)
    : { agrees: false, level: undefined, loosely: false, listed: [], tried };
}
