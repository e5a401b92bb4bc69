// What NVFP4 rows lost against the floats that they were made of.
#pragma once

#include <cstdint>

namespace megamoe::gemm {

struct LossParams {
  const float* x;  // [M, K]
  std::int64_t m, k;
  float globalDecodeScale;
  const std::uint8_t* codes;  // [M, K/2]
  const std::uint8_t* sf;     // [M, K/16]
  double* sums;               // [M, 3] out: of (y-x)^2, x^2 and y^2
};

// Double precision in one fixed order, that of src/js/loss.ts: the same bits everywhere, for any number of threads.
void nvfp4Loss(const LossParams& p, int threads);

}  // namespace megamoe::gemm
