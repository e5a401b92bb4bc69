// How every W4A4 kernel ends.
#pragma once

#include "w4a4.h"

namespace megamoe::cuda {

// Where row r of a product goes.
__device__ __forceinline__ float* w4a4Row(const W4A4Params& p, int r) {
  const int m = static_cast<int>(p.m), groups = static_cast<int>(p.groups);
  const std::int64_t row = groups == 1 ? r : std::int64_t{r % m} * groups + r / m;
  return p.out + row * p.w.n;
}

// Column n of row r of a product.
__device__ __forceinline__ void storeW4A4(const W4A4Params& p, int r, std::int64_t n, float alpha, float acc) {
  float v = alpha * acc;
  if (p.rowScale != nullptr) v = v * p.rowScale[r];
  w4a4Row(p, r)[n] = v;
}

}  // namespace megamoe::cuda
