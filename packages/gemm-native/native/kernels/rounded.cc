// Compiled without instruction-set flags.
#include "rounded.h"

#include <megamoe/thread_pool.h>

#include "nvfp4/bf16_rule.h"
#include "parallel.h"

namespace megamoe::gemm {

namespace {

constexpr std::int64_t kPerThread = 1 << 15;  // values that are worth waking a thread

}  // namespace

const float* roundedToBf16(const float* x, std::int64_t n, int threads) {
  float* out = static_cast<float*>(scratchBytes(Slot::rounded, static_cast<std::size_t>(n) * sizeof(float)));
  parallelFor(n, threads, kPerThread, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) {
      const std::uint32_t bits = nvfp4::activationBf16(x[i]) << 16;
      std::memcpy(out + i, &bits, sizeof bits);
    }
  });
  return out;
}

}  // namespace megamoe::gemm
