import { describe, expect, it } from 'vitest';
import { compareTensors, coordinatesOf, cosine, firstMismatch, maxAbs, maxUlp, nmse, ulpDistance } from '../src/index';

describe('cosine', () => {
  it('is the angle', () => {
    expect(cosine([1, 2, 3], [2, 4, 6])).toBeCloseTo(1, 15);
    expect(cosine([1, 0], [0, 5])).toBe(0);
    expect(cosine([1, 1], [-1, -1])).toBeCloseTo(-1, 15);
    expect(cosine([3, 4], [4, 3])).toBeCloseTo(24 / 25, 15);
  });
  it('of zero vectors', () => {
    expect(cosine([0, 0], [0, 0])).toBe(1);
    expect(cosine([0, 0], [1, 0])).toBe(0);
    expect(cosine([], [])).toBe(1);
  });
  it('does not overflow in float32 inputs', () => {
    const big = Float32Array.of(3e38, -3e38);
    expect(cosine(big, big)).toBeCloseTo(1, 12);
  });
});

it('nmse is relative to the right tensor', () => {
  expect(nmse([1, 2.1], [1, 2])).toBeCloseTo(0.01 / 5, 12);
  expect(nmse([0], [0])).toBe(0);
  expect(nmse([1], [0])).toBe(Infinity);
});

it('maxAbs', () => {
  expect(maxAbs([1, -5, 3], [1, 2, 3])).toBe(7);
  expect(maxAbs([Infinity], [Infinity])).toBe(0);
  expect(maxAbs([Infinity], [-Infinity])).toBe(Infinity);
  expect(maxAbs([NaN, 1], [NaN, 1])).toBeNaN();
  expect(maxAbs([], [])).toBe(0);
});

describe('ulpDistance', () => {
  it('counts float32 values', () => {
    expect(ulpDistance(1, 1)).toBe(0);
    expect(ulpDistance(1, 1 + 2 ** -23)).toBe(1);
    expect(ulpDistance(1, 1 - 2 ** -24)).toBe(1);
    expect(ulpDistance(0, -0)).toBe(0);
    expect(ulpDistance(2 ** -149, -(2 ** -149))).toBe(2);
    expect(ulpDistance(1, 2)).toBe(2 ** 23);
    expect(ulpDistance(-1, -2)).toBe(2 ** 23);
    expect(ulpDistance(3.4028234663852886e38, Infinity)).toBe(1);
  });
  it('rounds to float32 first', () => expect(ulpDistance(1, 1 + 2 ** -30)).toBe(0));
  it('knows NaN', () => {
    expect(ulpDistance(NaN, NaN)).toBe(0);
    expect(ulpDistance(NaN, 1)).toBeNaN();
    expect(maxUlp([1, NaN], [1, 1])).toBeNaN();
    expect(maxUlp([1, 1 + 2 ** -22], [1, 1])).toBe(2);
  });
});

describe('firstMismatch', () => {
  it('says where', () => {
    const got = [0, 0, 0, 0, 9, 0];
    expect(firstMismatch(got, [0, 0, 0, 0, 0, 0], { shape: [2, 3] })).toEqual({
      index: 4,
      at: [1, 1],
      got: 9,
      want: 0,
    });
    expect(firstMismatch(got, got)).toBeUndefined();
    expect(firstMismatch(got, [0, 0, 0, 0, 8.5, 0], { tolerance: 0.5 })).toBeUndefined();
    expect(firstMismatch([1, 2], [1, 3])).toEqual({ index: 1, at: [1], got: 2, want: 3 });
  });
  it('without tolerance tells zeros apart; a NaN equals only a NaN', () => {
    expect(firstMismatch([-0], [0])?.index).toBe(0);
    expect(firstMismatch([-0], [0], { tolerance: 1e-30 })).toBeUndefined();
    expect(firstMismatch([NaN], [NaN])).toBeUndefined();
    expect(firstMismatch([NaN], [0], { tolerance: 1e9 })?.index).toBe(0);
  });
  it('refuses a shape of another size', () =>
    expect(() => firstMismatch([1], [1], { shape: [2, 3] })).toThrow(
      'firstMismatch: "shape" [2, 3] holds 6 elements, the tensors have 1',
    ));
});

describe('compareTensors', () => {
  it('sums up', () => {
    const c = compareTensors([1, 2, 3, 4.5], [1, 2, 3, 4], [2, 2]);
    expect(c).toMatchObject({ shape: [2, 2], maxAbs: 0.5, equal: 3, nonFinite: 0 });
    expect(c.worst).toEqual({ index: 3, at: [1, 1], got: 4.5, want: 4 });
    expect(c.nmse).toBeCloseTo(0.25 / 30, 12);
    expect(c.cosine).toBeLessThan(1);
    expect(c.maxUlp).toBe(ulpDistance(4.5, 4));
  });
  it('counts non-finite mismatches and puts them first', () => {
    const c = compareTensors([NaN, 5, Infinity, NaN], [1, 1, Infinity, NaN]);
    expect(c).toMatchObject({ nonFinite: 1, maxAbs: 4, equal: 2 });
    expect(c.worst?.index).toBe(0);
  });
  it('equal tensors have no worst element', () => {
    expect(compareTensors([1, 2], [1, 2])).toMatchObject({ cosine: 1, nmse: 0, maxAbs: 0, maxUlp: 0, equal: 2 });
    expect(compareTensors([], []).worst).toBeUndefined();
    expect(compareTensors([1], [1]).worst).toBeUndefined();
  });
});

it('coordinatesOf', () => {
  expect(coordinatesOf(23, [2, 3, 4])).toEqual([1, 2, 3]);
  expect(coordinatesOf(0, [1])).toEqual([0]);
  expect(() => coordinatesOf(24, [2, 3, 4])).toThrow('"index" must be an integer in [0, 23], got 24');
});

it.each(Object.entries({ cosine, nmse, maxAbs, maxUlp, firstMismatch, compareTensors }))(
  '%s refuses different lengths',
  (name, metric) => {
    expect(() => metric([1, 2], [1])).toThrow(`${name}: "`);
    expect(() => metric([1, 2], [1])).toThrow('.length = 2, got 1');
  },
);
