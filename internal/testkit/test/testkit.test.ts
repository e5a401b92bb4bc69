import { describe, expect, it } from 'vitest';
import { expectBytes, expectClose, seeded } from '../src/index';

it('seeded data is the same for the same seed', () => {
  expect([...seeded(7).bytes(4)]).toEqual([...seeded(7).bytes(4)]);
  expect([...seeded(7).floats(4)]).not.toEqual([...seeded(8).floats(4)]);
  expect(seeded(1).choose(5, 5).sort()).toEqual([0, 1, 2, 3, 4]);
});

describe('comparisons can fail', () => {
  it('on a difference, a NaN and a length', () => {
    expect(() => expectClose([1, 2], [1, 2.1], { maxAbs: 0.01 })).toThrow(/max abs error/);
    expect(() => expectClose([1, 2], [1, 2.1], { nmse: 1e-6 })).toThrow(/NMSE/);
    expect(() => expectClose([NaN], [1], { maxAbs: 1 })).toThrow(/got NaN/);
    expect(() => expectClose([1], [1, 2], { maxAbs: 1 })).toThrow();
    expect(() => expectBytes([0, 1, 2, 4], [0, 1, 2, 3], [2, 2])).toThrow(/\[1, 1\]: got 4, want 3/);
    expectClose([1, NaN], [1.001, NaN], { maxAbs: 0.01, nmse: 1e-5 });
  });
});
