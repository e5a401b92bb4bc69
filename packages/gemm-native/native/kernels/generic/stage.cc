// ModelOpt's activation quantizer: float32 after every operation, true divisions. The same bits as src/js/stage.ts.
#include <megamoe/codecs.h>
#include <megamoe/thread_pool.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "generic.h"

namespace megamoe::gemm::generic {

namespace {

constexpr std::uint32_t kInfinityBits = 0x7f800000u;
constexpr float kMinGlobalDecodeScale = 0x1p-117f;

// Largest magnitude, as bits: magnitudes order like integers, with infinity and NaN on top.
std::uint32_t amaxBits(const float* x, std::int64_t n) {
  std::int32_t most = 0;
  for (std::int64_t i = 0; i < n; i++) {
    const std::int32_t bits = static_cast<std::int32_t>(floatToBits(x[i]) & 0x7fffffffu);
    most = bits > most ? bits : most;
  }
  return static_cast<std::uint32_t>(most);
}

// Quantizes one row; false when a value is not finite.
bool stageRow(const float* x, std::int64_t k, float g, std::uint8_t* codes, std::uint8_t* sf) {
  const float sixG = 6.f * g;
  for (std::int64_t b = 0; b < k; b += kBlock, x += kBlock, codes += kBlock / 2) {
    const std::uint32_t bits = amaxBits(x, kBlock);
    if (bits >= kInfinityBits) return false;
    float scale = bitsToFloat(bits) / sixG;
    if (scale == 0.f) scale = 1.f;
    const std::uint8_t byte = encodeE4m3(std::clamp(scale, 0x1p-9f, 448.f));
    *sf++ = byte;
    const float step = decodeE4m3(byte) * g;
    std::uint8_t code[kBlock];
    for (int i = 0; i < kBlock; i++) code[i] = static_cast<std::uint8_t>(encodeE2m1(x[i] / step));
    for (int i = 0; i < kBlock / 2; i++) codes[i] = static_cast<std::uint8_t>(code[2 * i] | (code[2 * i + 1] << 4));
  }
  return true;
}

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

std::int64_t stage(const StageParams& p, int threads) {
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> firstBad{kNone};  // lowest row with a NaN or infinity, so that the error is the same for any threads
  parallelFor(p.rows, threads, grainOf(p.k * 8), [&](std::int64_t begin, std::int64_t end) {
    std::int64_t e = 0;
    for (std::int64_t r = begin; r < end; r++) {
      const float* x = p.x + (p.slotToken == nullptr ? r : p.slotToken[r]) * p.k;
      bool good = true;
      float g = 1.f;
      if (p.rowScale != nullptr) {
        const std::uint32_t bits = amaxBits(x, p.k);
        good = bits < kInfinityBits;
        if (good) p.rowScale[r] = g = ownScale(bits);
      } else {
        while (p.expertOffsets[e] <= r) e++;
        g = p.globalDecodeScale[e];
      }
      if (good && stageRow(x, p.k, g, p.codes + r * (p.k / 2), p.sf + r * (p.k / kBlock))) continue;
      std::int64_t seen = firstBad.load();
      while (r < seen && !firstBad.compare_exchange_weak(seen, r)) {
      }
      return;
    }
  });
  return firstBad == kNone ? -1 : firstNotFinite(p, firstBad);
}

}  // namespace megamoe::gemm::generic
