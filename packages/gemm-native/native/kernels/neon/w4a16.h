// W4A16 by the rule of block_integers.h, for any way to form dot products (see w4a4.h): the integers of a block as
// three signed bytes each, so that a block's dot product is three of bytes.
#pragma once

#include <limits>

#include "../nvfp4/block_integers.h"
#include "nvfp4.h"

namespace megamoe::gemm::neon {

namespace {

template <class Dot>
struct W4A16 {
  static constexpr std::int64_t kDigits = 48;  // upper, middle and lower bytes of 16 integers
  static constexpr std::int64_t kRow = 52;     // bytes of a packed row in a block

  template <int Rows, int Groups>
  struct Tile {
    static void run(const PanelJob& job, const std::uint8_t* tile, std::int64_t row, int first) {
      float32x4_t acc[Rows][Groups];
      for (int r = 0; r < Rows; r++)
        for (int g = 0; g < Groups; g++) acc[r][g] = vdupq_n_f32(0.f);
      const std::uint8_t* w = job.panel;
      for (std::int64_t sb = 0; sb < job.superblocks; sb++, w += kSuperblockBytes) {
        for (int b = 0; b < kBlocks; b++, tile += Rows * kRow) {
#pragma GCC unroll 8
          for (int g = 0; g < Groups; g++) {
            const Weights weights = decode(w, b, first + g);
            const float32x4_t scale = scales(w, b, first + g);
            const std::uint8_t* const rows = Rows > 1 ? again(tile) : tile;
#pragma GCC unroll 8
            for (int r = 0; r < Rows; r++) {
              const std::uint8_t* digits = rows + r * kDigits;
              int32x4_t sum = Dot::dot(weights, vreinterpretq_s8_u8(vld1q_u8(digits)), vdupq_n_s32(0));
              sum = Dot::dot(weights, vreinterpretq_s8_u8(vld1q_u8(digits + 16)), vshlq_n_s32(sum, 8));
              sum = Dot::dot(weights, vreinterpretq_s8_u8(vld1q_u8(digits + 32)), vshlq_n_s32(sum, 8));
              const float32x4_t both = vmulq_n_f32(scale, floatAt(rows + Rows * kDigits + r * 4));
              // Two roundings, not a fused one: the product of t and the scale is not exact.
              acc[r][g] = vaddq_f32(acc[r][g], vmulq_f32(vcvtq_f32_s32(sum), both));
            }
          }
        }
      }
      for (int r = 0; r < Rows; r++)
        for (int g = 0; g < Groups; g++) storeColumns(job.out, row + r, first + g, acc[r][g], 1.f);
    }
  };

  static std::uint32_t amaxBits(const float* a, std::int64_t n) {
    uint32x4_t most = vdupq_n_u32(0);
    for (std::int64_t i = 0; i < n; i += 4)
      most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(a + i)), vdupq_n_u32(kMagnitude)));
    return vmaxvq_u32(most);
  }

  // 16 integers to the low bytes of each.
  static uint8x16_t lowBytes(const int32x4_t* q) {
    const uint16x8_t low = vcombine_u16(vmovn_u32(vreinterpretq_u32_s32(q[0])), vmovn_u32(vreinterpretq_u32_s32(q[1])));
    const uint16x8_t high =
        vcombine_u16(vmovn_u32(vreinterpretq_u32_s32(q[2])), vmovn_u32(vreinterpretq_u32_s32(q[3])));
    return vcombine_u8(vmovn_u16(low), vmovn_u16(high));
  }

  static void packBlock(const float* a, int row, std::int64_t rows, std::int64_t r, std::uint8_t* out) {
    const int e = blockExponent(amaxBits(a, 16), row);
    int32x4_t lower[4], middle[4], upper[4];  // q = upper * 2^16 + middle * 2^8 + lower, all signed bytes
    for (int i = 0; i < 4; i++) {
      lower[i] = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(a + 4 * i), quantizingFactor(e)));
      middle[i] = vshrq_n_s32(vaddq_s32(lower[i], vdupq_n_s32(128)), 8);
      upper[i] = vshrq_n_s32(vaddq_s32(middle[i], vdupq_n_s32(128)), 8);
    }
    std::uint8_t* digits = out + r * kDigits;
    vst1q_u8(digits, lowBytes(upper));
    vst1q_u8(digits + 16, lowBytes(middle));
    vst1q_u8(digits + 32, lowBytes(lower));
    const float factor = powerOfTwo(e - row + 120);
    std::memcpy(out + rows * kDigits + r * 4, &factor, 4);
  }

  static void packTile(const float* a, std::int64_t k, std::int64_t rows, std::int64_t, std::uint8_t* tile,
                       float* rowFactor) {
    const std::int64_t padded = (k + kSuperblock - 1) / kSuperblock * kSuperblock;
    const float zeros[16] = {};
    for (std::int64_t r = 0; r < rows; r++, a += k) {
      const std::uint32_t most = amaxBits(a, k);
      const bool finite = most < kNotFinite;
      const int row = finite ? rowExponent(most) : kLeastExponent;
      rowFactor[r] = finite ? rowFactorOf(row) : std::numeric_limits<float>::quiet_NaN();
      for (std::int64_t i = 0; i < padded; i += 16)
        packBlock(finite && i < k ? a + i : zeros, row, rows, r, tile + i / 16 * rows * kRow);
    }
  }

  static void panel(const PanelJob& job) { eachTile<Tile>(job, kBlocks * kRow); }

  static std::int64_t scratch(std::int64_t, std::int64_t) { return 0; }
};

template <class Dot>
constexpr W4A16Kernels w4a16Kernels() {
  return {kBlocks * W4A16<Dot>::kRow, W4A16<Dot>::scratch, W4A16<Dot>::packTile, W4A16<Dot>::panel};
}

}  // namespace

}  // namespace megamoe::gemm::neon
