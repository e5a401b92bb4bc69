import { expect } from 'vitest';

/** Coordinates of a flat index in `shape`, as text. */
function coordinates(index: number, shape: readonly number[] | undefined): string {
  if (!shape) return `[${index}]`;
  const at: number[] = [];
  for (let d = shape.length - 1; d >= 0; d--) {
    at.unshift(index % shape[d]!);
    index = Math.floor(index / shape[d]!);
  }
  return `[${at.join(', ')}]`;
}

/** Bounds for {@link expectClose}; all that are given must hold. */
export interface CloseBounds {
  /** Largest absolute difference. */
  readonly maxAbs?: number;
  /** Largest sum of squared differences over the sum of squares of `want`. */
  readonly nmse?: number;
  /** Shape, to print coordinates. */
  readonly shape?: readonly number[];
}

/** Fails unless `got` is within the bounds of `want`; NaN and infinity must stand in the same places. */
export function expectClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  { maxAbs, nmse, shape }: CloseBounds,
): void {
  expect(got.length).toBe(want.length);
  let worst = 0;
  let worstAt = 0;
  let error = 0;
  let power = 0;
  for (let i = 0; i < want.length; i++) {
    const g = got[i]!;
    const w = want[i]!;
    if (!Number.isFinite(g) || !Number.isFinite(w)) {
      if (!Object.is(g, w)) expect.fail(`at ${coordinates(i, shape)}: got ${g}, want ${w}`);
      continue;
    }
    const d = Math.abs(g - w);
    if (d > worst) [worst, worstAt] = [d, i];
    error += d * d;
    power += w * w;
  }
  const where = `worst at ${coordinates(worstAt, shape)}: got ${got[worstAt]}, want ${want[worstAt]}`;
  if (maxAbs === undefined && nmse === undefined) expect.fail('expectClose needs a bound');
  if (maxAbs !== undefined && worst > maxAbs) expect.fail(`max abs error ${worst} > ${maxAbs}; ${where}`);
  if (nmse !== undefined && error > nmse * power) expect.fail(`NMSE ${error / power} > ${nmse}; ${where}`);
}

/** Fails at the first element of `got` that differs from `want` (compared with `Object.is`), with its coordinates. */
export function expectBytes(got: ArrayLike<number>, want: ArrayLike<number>, shape?: readonly number[]): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) {
    if (!Object.is(got[i], want[i]))
      expect.fail(`first difference at ${coordinates(i, shape)}: got ${got[i]}, want ${want[i]}`);
  }
}
