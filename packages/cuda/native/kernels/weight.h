// Weights on the device: row-major [matrices, N, K], as a checkpoint has them, but for those that are packed.
#pragma once

#include "launch.h"

namespace megamoe::cuda {

// packed: nvfp4 as packed.h has it.
enum class Format : int { f32 = 0, bf16 = 1, nvfp4 = 2, fp8 = 3, packed = 4 };

struct Weight {
  Format format;
  std::int64_t matrices, n, k;
  const void* data;    // f32, bf16 bits, E4M3 codes, pairs of E2M1 codes (even column in the low nibble), superblocks
  const void* scales;  // fp8: f32 [matrices*N, ceil(K/128)]; nvfp4: E4M3 [matrices*N, K/16]; else null
};

}  // namespace megamoe::cuda
