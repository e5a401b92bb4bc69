// W4A4 for any way to form dot products: Dot::dot(weights, 16 signed bytes, start) is exact in int32.
//
// A packed row holds, for each block, 16 doubled codes and its scale times 2^100. A block's dot product times its two
// scales is exact in float32, so that a fused multiply-add rounds as the contract's addition does.
#pragma once

#include "nvfp4.h"

namespace megamoe::gemm::neon {

namespace {

template <class Dot>
struct W4A4 {
  static constexpr float kUndo = 0x1p18f;   // 2^20 for the scales, a quarter for the two doubled operands
  static constexpr std::int64_t kRow = 20;  // bytes of a packed row in a block

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
              const int8x16_t a = vreinterpretq_s8_u8(vld1q_u8(rows + r * 16));
              const float32x4_t dot = vcvtq_f32_s32(Dot::dot(weights, a, vdupq_n_s32(0)));
              acc[r][g] = vfmaq_f32(acc[r][g], dot, vmulq_n_f32(scale, floatAt(rows + Rows * 16 + r * 4)));
            }
          }
        }
      }
      for (int r = 0; r < Rows; r++)
        for (int g = 0; g < Groups; g++) storeColumns(job.out, row + r, first + g, acc[r][g], kUndo);
    }
  };

  static void packTile(const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t rows,
                       std::int64_t, std::uint8_t* tile) {
    const std::int64_t kSf = k / 16, padded = (kSf + kBlocks - 1) / kBlocks * kBlocks;
    const int8x16_t doubled = doubledCodes();
    for (std::int64_t r = 0; r < rows; r++, codes += k / 2, sf += kSf)
      for (std::int64_t b = 0; b < padded; b++) {
        std::uint8_t* out = tile + b * rows * kRow;
        int8x16_t values = vdupq_n_s8(0);
        float scale = 0;
        if (b < kSf) {
          const uint8x8_t bytes = vld1_u8(codes + b * 8);  // the even element is the low nibble
          const uint8x8_t low = vand_u8(bytes, vdup_n_u8(15)), high = vshr_n_u8(bytes, 4);
          values = vqtbl1q_s8(doubled, vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high)));
          const std::uint32_t raw = static_cast<std::uint32_t>(sf[b]) << 20;
          std::memcpy(&scale, &raw, 4);
          scale = scale * 0x1p120f * 0x1p100f;
        }
        vst1q_u8(out + r * 16, vreinterpretq_u8_s8(values));
        std::memcpy(out + rows * 16 + r * 4, &scale, 4);
      }
  }

  static void panel(const PanelJob& job) { eachTile<Tile>(job, kBlocks * kRow); }

  static std::int64_t scratch(std::int64_t, std::int64_t) { return 0; }
};

template <class Dot>
constexpr W4A4Kernels w4a4Kernels() {
  return {kBlocks * W4A4<Dot>::kRow, W4A4<Dot>::scratch, W4A4<Dot>::packTile, W4A4<Dot>::panel};
}

}  // namespace

}  // namespace megamoe::gemm::neon
