import { seeded } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import { expNegative } from '../src/exp';

it('is exp within 2 ulp, exact at 0, and 0 where exp underflows', () => {
  const random = seeded(1);
  let worst = 0;
  for (let i = 0; i < 200_000; i++) {
    const d = -(random.next() ** 3) * 708;
    const want = Math.exp(d);
    worst = Math.max(worst, Math.abs(expNegative(d) - want) / want);
  }
  expect(worst).toBeLessThan(2 * 2 ** -52);
  expect([expNegative(0), expNegative(-0)]).toEqual([1, 1]);
  expect([expNegative(-744), expNegative(-1e308), expNegative(-Infinity)]).toEqual([0, 0, 0]);
  expect(expNegative(-740) / Math.exp(-740)).toBeCloseTo(1, 1); // subnormal: few bits are left
  for (const d of [-1e-300, -1e-17, -Math.LN2 / 64, -Math.LN2, -708.39, -720]) {
    expect(Math.abs(expNegative(d) / Math.exp(d) - 1)).toBeLessThan(1e-10);
  }
});
