// Compiled without instruction-set flags.
#include "rounded.h"

#include <megamoe/thread_pool.h>

#include "nvfp4/bf16_rule.h"
#include "parallel.h"

namespace megamoe::gemm {

namespace {

constexpr std::int64_t kPerThread = 1 << 15;  // values that are worth waking a thread

// n activations as their BF16 values, in the caller's scratch.
const float* rounded(const float* x, std::int64_t n, int threads) {
  float* out = static_cast<float*>(scratchBytes(Slot::rounded, static_cast<std::size_t>(n) * sizeof(float)));
  parallelFor(n, threads, kPerThread, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) {
      const std::uint32_t bits = nvfp4::activationBf16(x[i]) << 16;
      std::memcpy(out + i, &bits, sizeof bits);
    }
  });
  return out;
}

}  // namespace

void linearRounded(void (*linear)(const LinearParams&, int threads), const LinearParams& p, int threads) {
  LinearParams q = p;
  q.x = rounded(p.x, p.m * p.w->matrices * p.w->k, threads);
  linear(q, threads);
}

void groupedRounded(void (*grouped)(const GroupedA16Params&, int threads), const GroupedA16Params& p, int threads) {
  GroupedA16Params q = p;
  q.a = rounded(p.a, p.expertOffsets[p.w->matrices - 1] * p.w->k, threads);
  grouped(q, threads);
}

}  // namespace megamoe::gemm
