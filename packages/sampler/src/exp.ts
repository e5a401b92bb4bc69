/** 2^(j/64), j in [0, 64). */
const FRACTIONS = Float64Array.from({ length: 64 }, (_, j) => 2 ** (j / 64));

/** 2^-i, i in [0, 1075]; the last ones are subnormal. */
const POWERS = Float64Array.from({ length: 1076 }, (_, i) => 2 ** -i);

const LOG2_64 = 64 / Math.LN2;
/** ln(2) / 64 in two parts: the upper 29 bits, whose multiples below are exact, and the rest (of ln(2), not of its double). */
const STEP_HIGH = 0.010830424667801708;
const STEP_LOW = 2.8447437476627285e-11;

/**
 * `exp(d)` for d <= 0 within 2 ulp (subnormal results aside) and faster than `Math.exp`.
 * Weights of a whole vocabulary are summed with it.
 */
export function expNegative(d: number): number {
  if (!(d > -744)) return 0;
  const n = Math.floor(d * LOG2_64);
  const r = d - n * STEP_HIGH - n * STEP_LOW; // in [0, ln(2)/64]
  const poly = 1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r / 720)))));
  return poly * FRACTIONS[n & 63]! * POWERS[-(n >> 6)]!;
}
