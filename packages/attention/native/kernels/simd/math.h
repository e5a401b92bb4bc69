// What the templates of this folder share.
//
// They are function templates over the lanes of ../avx2/lanes.h, ../avx512/lanes.h and ../neon/lanes.h. Those types
// live in anonymous namespaces, so every instantiation belongs to its file and no wide instruction reaches another one.
// Nothing here may be a plain inline function, and nothing inline of the standard library is used.
#pragma once

#include <cstdint>

namespace megamoe::attention::simd {

constexpr float kInfinity = __builtin_inff();

static inline std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
static inline std::int64_t roundUp(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

template <class V>
static inline std::int64_t vectorsOf(std::int64_t n) {
  return (n + V::kLanes - 1) / V::kLanes;
}

// The first n of V's lanes, or all of them when n is larger.
template <class V>
static inline typename V::Reg loadUpTo(const float* p, std::int64_t n) {
  return n >= V::kLanes ? V::load(p) : V::loadFirst(p, static_cast<int>(n));
}
template <class V>
static inline void storeUpTo(float* p, std::int64_t n, typename V::Reg v) {
  if (n >= V::kLanes) {
    V::store(p, v);
  } else {
    V::storeFirst(p, static_cast<int>(n), v);
  }
}

// exp(x) for x <= 0, at most 2 ulp; 0 below -87 (1.6e-38), NaN for NaN: Cephes' polynomial as in ../generic/lanes.h,
// with fused steps.
template <class V>
static inline typename V::Reg expNonPositive(typename V::Reg x) {
  using Reg = typename V::Reg;
  const Reg low = V::splat(-87.0f);
  const Reg c = V::max(low, x);
  const Reg magic = V::splat(12582912.0f);  // 1.5 * 2^23: the sum is rounded to an integer, held in the low bits
  const Reg shifted = V::fma(c, V::splat(1.44269504f), magic);
  const Reg n = V::sub(shifted, magic);
  Reg r = V::fmaNeg(n, V::splat(0.693359375f), c);
  r = V::fmaNeg(n, V::splat(-2.12194440e-4f), r);
  Reg p = V::splat(1.9875691500e-4f);
  p = V::fma(p, r, V::splat(1.3981999507e-3f));
  p = V::fma(p, r, V::splat(8.3334519073e-3f));
  p = V::fma(p, r, V::splat(4.1665795894e-2f));
  p = V::fma(p, r, V::splat(1.6666665459e-1f));
  p = V::fma(p, r, V::splat(5.0000001201e-1f));
  const Reg y = V::add(V::fma(p, V::mul(r, r), r), V::splat(1.0f));
  return V::zeroBelow(x, low, V::mul(y, V::powerOfTwo(shifted)));
}

template <class V>
static inline float sumOfSquares(const float* x, std::int64_t n) {
  typename V::Reg sum = V::zero();
  std::int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) sum = V::fma(V::load(x + i), V::load(x + i), sum);
  if (i < n) {
    const typename V::Reg last = V::loadFirst(x + i, static_cast<int>(n - i));
    sum = V::fma(last, last, sum);
  }
  return V::reduceAdd(sum);
}

}  // namespace megamoe::attention::simd
