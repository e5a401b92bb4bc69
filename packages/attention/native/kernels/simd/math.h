// exp(x) for x <= 0, at most 2 ulp; 0 below -87 (1.6e-38), NaN for NaN: Cephes' polynomial as in ../generic/lanes.h,
// with fused steps.
inline Vec expNonPositive(Vec x) {
  const Vec low = all(-87.0f);
  const Vec c = maxOr(low, x);
  const Vec magic = all(12582912.0f);  // 1.5 * 2^23: the sum is rounded to an integer, held in the low bits
  const Vec shifted = fma(c, all(1.44269504f), magic);
  const Vec n = sub(shifted, magic);
  Vec r = fmaNeg(n, all(0.693359375f), c);
  r = fmaNeg(n, all(-2.12194440e-4f), r);
  Vec p = all(1.9875691500e-4f);
  p = fma(p, r, all(1.3981999507e-3f));
  p = fma(p, r, all(8.3334519073e-3f));
  p = fma(p, r, all(4.1665795894e-2f));
  p = fma(p, r, all(1.6666665459e-1f));
  p = fma(p, r, all(5.0000001201e-1f));
  const Vec y = add(fma(p, mul(r, r), r), all(1.0f));
  return zeroBelow(x, low, mul(y, powerOfTwo(shifted)));
}

inline float sumOfSquares(const float* x, int64_t n) {
  Vec sum = zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = fma(load(x + i), load(x + i), sum);
  if (i < n) {
    const Vec last = loadPart(x + i, n - i);
    sum = fma(last, last, sum);
  }
  return reduceAdd(sum);
}
