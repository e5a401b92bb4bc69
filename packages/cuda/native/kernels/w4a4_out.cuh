// How every W4A4 kernel ends.
#pragma once

#include "w4a4.h"

namespace megamoe::cuda {

// Column n of row r of a product.
__device__ __forceinline__ void storeW4A4(const W4A4Params& p, std::int64_t r, std::int64_t n, float alpha, float acc) {
  float v = alpha * acc;
  if (p.rowScale != nullptr) v = v * p.rowScale[r];
  const std::int64_t row = p.groups == 1 ? r : r % p.m * p.groups + r / p.m;
  p.out[row * p.w.n + n] = v;
}

}  // namespace megamoe::cuda
