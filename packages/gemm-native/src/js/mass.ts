const fround = Math.fround;

const LANES = 16;
const LOG2_E = fround(1.44269504);
const LN_2 = fround(0.693147182);
/** What is masked stands before nothing. */
const LEAST = fround(-3.402823466e38);
/** Of exp(g), from g^6 down to g^2. */
const COEFFICIENTS = [1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5].map(fround);
const ALL = new Float64Array(LANES);
const BEFORE = new Float64Array(LANES);

/** `exp(-gap)` for gap >= 0, nothing less than exp(-83), with the bits of the addon (kernels/mass.h). */
function massWeight(gap: number): number {
  const t = fround((gap < 83 ? gap : 83) * -LOG2_E);
  const k = Math.trunc(fround(t - 0.5));
  const g = fround(fround(t - k) * LN_2);
  let p = 0;
  for (let i = 0; i < COEFFICIENTS.length; i++) p = fround(COEFFICIENTS[i]! + fround(g * p));
  p = fround(1 + fround(g * p));
  p = fround(1 + fround(g * p));
  return fround(p * 2 ** k);
}

/** {@link LogitsScan.massBefore} by its definition; `best` is what argmax says. */
export function massBefore(logits: Float32Array, n: number, best: number, t: number, id: number): number {
  if (best < 0) return -1;
  const temperature = fround(t);
  const most = fround(logits[best]! / temperature);
  const floor = Math.max(fround(logits[id]! / temperature), LEAST);
  if (!Number.isFinite(most)) return -1;
  ALL.fill(0);
  BEFORE.fill(0);
  let own = 0;
  for (let i = 0; i < n; i++) {
    const scaled = fround(logits[i]! / temperature);
    const weight = massWeight(fround(most - scaled));
    ALL[i % LANES]! += weight;
    if (scaled >= floor) BEFORE[i % LANES]! += weight;
    if (i === id) own = weight;
  }
  let [total, share] = [0, 0];
  for (let l = 0; l < LANES; l++) {
    total += ALL[l]!;
    share += BEFORE[l]!;
  }
  return (share - own) / total;
}
