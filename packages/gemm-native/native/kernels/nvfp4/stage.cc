// Compiled without instruction-set flags: which rows, which scales, which threads.
#include "stage.h"

#include <megamoe/codecs.h>
#include <megamoe/thread_pool.h>

#include <atomic>
#include <limits>

namespace megamoe::gemm::nvfp4 {

namespace {

constexpr std::uint32_t kInfinityBits = 0x7f800000u;
constexpr float kMinGlobalDecodeScale = 0x1p-117f;
constexpr std::int64_t kElementsPerThread = 1 << 14;  // worth waking a thread

// The row's own global scale; a row too small for one (all zeros among them) gets 1.
float ownScale(std::uint32_t bits) {
  const float g = bitsToFloat(bits) / 2688.f;  // 6 * 448
  return g < kMinGlobalDecodeScale ? 1.f : g;
}

std::int64_t firstNotFinite(const StageParams& p, std::int64_t row) {
  const std::int64_t x0 = (p.slotToken == nullptr ? row : p.slotToken[row]) * p.k;
  for (std::int64_t i = x0;; i++)
    if ((floatToBits(p.x[i]) & 0x7fffffffu) >= kInfinityBits) return i;
}

}  // namespace

std::int64_t stage(const StageKernels& kernels, const StageParams& p, int threads) {
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> firstBad{kNone};  // lowest row with a NaN or infinity, so that the error is the same for any threads
  parallelFor(p.rows, threads, kElementsPerThread / p.k + 1, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t e = 0;
    for (std::int64_t r = begin; r < end; r++) {
      const float* x = p.x + (p.slotToken == nullptr ? r : p.slotToken[r]) * p.k;
      bool good = true;
      float g = 1.f;
      if (p.rowScale != nullptr) {
        const std::uint32_t bits = kernels.amaxBits(x, p.k);
        good = bits < kInfinityBits;
        if (good) p.rowScale[r] = g = ownScale(bits);
      } else {
        while (p.expertOffsets[e] <= r) e++;
        g = p.globalDecodeScale[e];
      }
      if (good && kernels.row(x, p.k, g, p.codes + r * (p.k / 2), p.sf + r * (p.k / kBlock))) continue;
      std::int64_t seen = firstBad.load();
      while (r < seen && !firstBad.compare_exchange_weak(seen, r)) {
      }
      return;
    }
  });
  return firstBad == kNone ? -1 : firstNotFinite(p, firstBad);
}

}  // namespace megamoe::gemm::nvfp4
