// ModelOpt's activation quantizer: float32 after every operation, true divisions. The same bits as src/js/stage.ts.
#include <megamoe/codecs.h>

#include <algorithm>

#include "../nvfp4/stage.h"
#include "generic.h"

namespace megamoe::gemm::generic {

namespace {

constexpr std::uint32_t kInfinityBits = 0x7f800000u;

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
bool stageRow(const float* x, std::int64_t k, float g, std::uint8_t* codes, std::uint8_t* sf, const float*) {
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

}  // namespace

const nvfp4::StageKernels kStage = {amaxBits, stageRow, swigluRow};

std::int64_t stage(const StageParams& p, int threads) { return nvfp4::stage(kStage, p, threads); }

}  // namespace megamoe::gemm::generic
