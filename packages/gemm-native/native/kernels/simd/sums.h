// Sums of products in float64, with the bits of the portable kernels and of the js twin where it has eight partial
// sums: lane = index mod 8 of whole groups of eight, the rest on lane 0, then ((0+1)+(2+3))+((4+5)+(6+7)). The product
// of two float32 is exact in float64, so a fused multiply-add rounds as a multiplication and an addition do.
#pragma once

#include <cmath>
#include <cstdint>

#include "ranges.h"

namespace megamoe::gemm::simd {

// The sum of eight lanes and of the products a[i]*b[i] for i in [done, n).
template <class D>
static inline double finishSum(typename D::Reg lanes, const float* a, const float* b, std::int64_t done,
                               std::int64_t n) {
  double s[8];
  D::store(s, lanes);
  for (std::int64_t i = done; i < n; i++) s[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

// 1/sqrt(mean(x^2) + eps), rounded to float32, from the sum of d squares.
static inline float rmsFactorOf(double squares, std::int64_t d, double eps) {
  return static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(d) + eps));
}

// The same from d values.
template <class D>
static float rmsFactor(const float* x, std::int64_t d, double eps) {
  typename D::Reg sum = D::zero();
  const std::int64_t whole = d - d % 8;
  for (std::int64_t i = 0; i < whole; i += 8) {
    const typename D::Reg v = D::load(x + i);
    sum = D::fma(v, v, sum);
  }
  return rmsFactorOf(finishSum<D>(sum, x, x, whole, d), d, eps);
}

}  // namespace megamoe::gemm::simd
