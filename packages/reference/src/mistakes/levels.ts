/**
 * Levels of right. Kernels round intermediates to BF16 or FP16 at known points, and what follows from that is right too. A level names
 * points and a dtype. At an **exact** level a computation rounds there as the kernel does; what float32 cannot decide, a value so near
 * the middle between two numbers that its error takes it to either, becomes error of the value. At a **bounded** level nothing is
 * rounded, and every point adds half a step to the error: right for a kernel that rounds there in an order of its own (the running
 * maximum of an online softmax), and blunter.
 */
import { roundTo, stepOf, type FloatDtype } from './dtypes';

/** A place in a computation where kernels round. */
export interface Point {
  readonly id: string;
  /** What is rounded there, for people. */
  readonly text: string;
}

/** Where a computation rounds, and to what. */
export interface Level {
  /** As it stands in JSON: `float32`, `bf16:gate-up+hidden`. */
  readonly name: string;
  /** For people, after a comma; empty for float32. */
  readonly text: string;
  /** Dtype of the points below; F32: none is rounded. */
  readonly dtype: FloatDtype;
  /** Ids of points that round. */
  readonly exact: ReadonlySet<string>;
  /** Ids of points that add to the error only. */
  readonly bounded: ReadonlySet<string>;
  /** Dtype that the output was rounded to before it was stored in a wider one. */
  readonly out?: FloatDtype;
}

const NONE: ReadonlySet<string> = new Set();

/** No rounding but float32's own. */
export const FLOAT32: Level = { name: 'float32', text: '', dtype: 'F32', exact: NONE, bounded: NONE };

/** Bytes, codes and ids: there is one right answer. */
export const EXACT: Level = { ...FLOAT32, name: 'exact' };

/** Another way to come by bytes that is right too, as a level. */
export function exactVariant({ id, text }: Point): Level {
  return { ...EXACT, name: `exact:${id}`, text, exact: new Set([id]) };
}

const SAID: Readonly<Record<FloatDtype, string>> = { F32: 'float32', BF16: 'BF16', F16: 'FP16' };
const ROUNDED = ['BF16', 'F16'] as const;

function list(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

function exactLevel(dtype: FloatDtype, points: readonly Point[]): Level {
  return {
    name: `${SAID[dtype].toLowerCase()}:${points.map(({ id }) => id).join('+')}`,
    text: `with ${list(points.map(({ text }) => text))} rounded to ${SAID[dtype]}`,
    dtype,
    exact: new Set(points.map(({ id }) => id)),
    bounded: NONE,
  };
}

/** Every choice of at most one point of each group but the empty one, those with the fewest points first. */
function choicesOf(groups: readonly (readonly Point[])[]): Point[][] {
  let chosen: Point[][] = [[]];
  for (const group of groups)
    chosen = chosen.flatMap((points) => [points, ...group.map((point) => [...points, point])]);
  return chosen.slice(1).sort((a, b) => a.length - b.length);
}

/**
 * Float32, then the exact levels that round at one point of some of the `groups` (points of a group are ways to do the same thing), then
 * for each dtype, the finer first, a level that bounds the error of the points `bounded`.
 */
export function levelsOf(groups: readonly (readonly Point[])[], bounded: readonly string[]): Level[] {
  const exact = choicesOf(groups).flatMap((points) => ROUNDED.map((dtype) => exactLevel(dtype, points)));
  const finerFirst = bounded.length > 0 ? [...ROUNDED].reverse() : [];
  const anywhere = finerFirst.map((dtype): Level => ({
    name: `${SAID[dtype].toLowerCase()}:somewhere`,
    text: `within what intermediates rounded to ${SAID[dtype]} can add, in an order that was not told`,
    dtype,
    exact: NONE,
    bounded: new Set(bounded),
  }));
  return [FLOAT32, ...exact, ...anywhere];
}

/** What a level does at some of the points, as a key: computations between them are the same for levels with the same key. */
export function keyAt({ dtype, exact, bounded }: Level, points: readonly string[]): string {
  const here = points.filter((id) => exact.has(id) || bounded.has(id));
  return here.length === 0 ? '' : `${dtype}${bounded.size > 0 ? '?' : ''} ${here.join('+')}`;
}

/** A level whose output was rounded to `out` before it was stored. */
export function storedFrom(out: FloatDtype, level: Level): Level {
  const said = SAID[out];
  return {
    ...level,
    out,
    name:
      level === FLOAT32
        ? `${said.toLowerCase()}:out`
        : `${level.name}+${out === level.dtype ? '' : `${said.toLowerCase()}:`}out`,
    text: [level.text, `the output rounded to ${said} before it was stored`].filter(Boolean).join(', '),
  };
}

/**
 * A point of a computation: rounds `values` in place when `level` rounds there. `errors` are bounds of what float32 has added so far;
 * afterwards, of what may be added behind the point. True when the level has the point.
 */
export function roundAt(level: Level, point: string, values: Float64Array, errors: Float64Array): boolean {
  const { dtype, exact, bounded } = level;
  if (bounded.has(point)) {
    for (let i = 0; i < values.length; i++) errors[i]! += stepOf(dtype, values[i]!) / 2;
    return true;
  }
  if (!exact.has(point)) return false;
  for (let i = 0; i < values.length; i++) {
    const [v, e] = [values[i]!, errors[i]!];
    const rounded = roundTo(dtype, v);
    const [low, high] = [roundTo(dtype, v - e), roundTo(dtype, v + e)];
    values[i] = rounded;
    if (low === high || Number.isNaN(v)) errors[i] = 0;
    else errors[i] = Number.isFinite(high - low) ? Math.max(high - rounded, rounded - low) : Infinity;
  }
  return true;
}

/** An input as a kernel keeps it, when it rounds there; else itself. */
export function roundedInput(level: Level, point: string, x: Float32Array): Float32Array {
  return level.exact.has(point) ? x.map((v) => roundTo(level.dtype, v)) : x;
}

/**
 * Bound of a sum of errors that know nothing of each other, from the sum of their bounds and of their squares. A rounding error is
 * uniform, so that four times the root is seven standard deviations.
 */
export function spreadOf(sum: number, squares: number): number {
  return Math.min(sum, 4 * Math.sqrt(squares));
}
