// What the generic NVFP4 kernels share: decoding a block of a panel.
#pragma once

#include <megamoe/codecs.h>

#include "../nvfp4/kernels.h"

namespace megamoe::gemm::generic {

using namespace megamoe::gemm::nvfp4;

constexpr int kCols = static_cast<int>(kColumns);
constexpr int kBlockK = 16;

extern const W4A4Kernels kW4A4;
extern const W4A16Kernels kW4A16;
extern const Bf16Kernels kBf16;

// Block `b` of a superblock as doubled E2M1 integers [16][32].
template <class T>
void decodeCodes(const std::uint8_t* superblock, int b, T (*w)[kCols]) {
  for (int z = 0; z < 2; z++)
    for (int c = 0; c < kCols; c++) {
      const std::uint8_t* lane = superblock + 128 + ((b * 2 + c / 16) * 2 + z) * 64 + c % 16 * 4;
      for (int j = 0; j < 4; j++) {
        w[8 * z + j][c] = static_cast<T>(kE2m1Doubled[lane[j] & 15]);
        w[8 * z + 4 + j][c] = static_cast<T>(kE2m1Doubled[lane[j] >> 4]);
      }
    }
}

// Its scales times `factor`, exact. NaN and negative bytes never come here (findBadScale).
inline void decodeScales(const std::uint8_t* superblock, int b, float factor, float* out) {
  for (int c = 0; c < kCols; c++)
    out[c] =
        bitsToFloat(static_cast<std::uint32_t>(superblock[c / 16 * 64 + c % 16 * 4 + b]) << 20) * 0x1p120f * factor;
}

// One row of a panel: alpha * (acc * its factor), then * rowScale.
inline void storeRow(const PanelOut& o, std::int64_t row, const float* acc) {
  const float factor = o.rowFactor == nullptr ? 1.f : o.rowFactor[row];
  for (int c = 0; c < o.columns; c++) {
    const float v = o.alpha[c] * (acc[c] * factor);
    o.out[row * o.stride + c] = o.rowScale == nullptr ? v : v * o.rowScale[row];
  }
}

}  // namespace megamoe::gemm::generic
