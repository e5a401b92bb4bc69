// Compiled without instruction-set flags: which rows, which scales, which threads.
#include "stage.h"

#include "../parallel.h"

#include <megamoe/codecs.h>
#include <megamoe/thread_pool.h>

#include <atomic>
#include <limits>

namespace megamoe::gemm::nvfp4 {

namespace {

constexpr std::uint32_t kInfinityBits = 0x7f800000u;
constexpr float kMinGlobalDecodeScale = 0x1p-117f;
constexpr std::int64_t kElementsPerThread = 1 << 14;  // worth waking a thread
constexpr std::int64_t kSwigluPerThread = 1 << 12;    // an exponential takes longer

// The row's own global scale; a row too small for one (all zeros among them) gets 1.
float ownScale(std::uint32_t bits) {
  const float g = bitsToFloat(bits) / 2688.f;  // 6 * 448
  return g < kMinGlobalDecodeScale ? 1.f : g;
}

std::int64_t tokenOf(const StageParams& p, std::int64_t row) { return p.slotToken == nullptr ? row : p.slotToken[row]; }

// What is staged as row `row`: of x, or its SwiGLU in the calling thread's scratch, where it stays in cache until it
// has become codes.
const float* stagedRow(const StageKernels& kernels, const StageParams& p, std::int64_t row) {
  if (p.swigluLimit == 0.f) return p.x + tokenOf(p, row) * p.k;
  float* out = static_cast<float*>(scratchBytes(Slot::staged, static_cast<std::size_t>(p.k) * sizeof(float)));
  const float* gate = p.x + row * 2 * p.k;
  kernels.swigluRow(gate, gate + p.k, p.k, p.swigluLimit, out);
  return out;
}

std::int64_t firstNotFinite(const StageKernels& kernels, const StageParams& p, std::int64_t row) {
  const float* x = stagedRow(kernels, p, row);
  for (std::int64_t i = 0;; i++)
    if ((floatToBits(x[i]) & 0x7fffffffu) >= kInfinityBits) return tokenOf(p, row) * p.k + i;
}

}  // namespace

std::int64_t stage(const StageKernels& kernels, const StageParams& p, int threads) {
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  // Lowest row with a NaN or infinity, so that the error is the same for any threads.
  std::atomic<std::int64_t> firstBad{kNone};
  parallelFor(p.rows, threads, (p.swigluLimit == 0.f ? kElementsPerThread : kSwigluPerThread) / p.k + 1,
              [&](std::int64_t begin, std::int64_t end) {
    std::int64_t e = 0;
    for (std::int64_t r = begin; r < end; r++) {
      const float* x = stagedRow(kernels, p, r);
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
      const float* next = r + 1 < end && p.swigluLimit == 0.f ? p.x + tokenOf(p, r + 1) * p.k : nullptr;
      if (good && kernels.row(x, p.k, g, p.codes + r * (p.k / 2), p.sf + r * (p.k / kBlock), next)) continue;
      std::int64_t seen = firstBad.load();
      while (r < seen && !firstBad.compare_exchange_weak(seen, r)) {
      }
      return;
    }
  });
  return firstBad == kNone ? -1 : firstNotFinite(kernels, p, firstBad);
}

}  // namespace megamoe::gemm::nvfp4
