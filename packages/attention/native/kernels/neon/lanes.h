// The lanes of NEON for the templates in ../simd: 8 floats in two registers, the lanes of AVX2 and so its bits.
#pragma once

#include <megamoe/lanes/neon.h>

#include <cstdint>

namespace megamoe::attention::neon {
namespace {

struct F32 : megamoe::neon::FloatLanes {
  // The register tile of ../simd/tile.h: 6 x 2 sums and 2 columns of two registers and a broadcast value are 29 of the
  // 32 registers.
  static constexpr int kTileRows = 6;
  static constexpr int kTileVectors = 2;

  // b where a == x, else a.
  static Reg replaceEqual(Reg a, Reg x, Reg b) {
    return choose({vceqq_f32(a.low, x.low), vceqq_f32(a.high, x.high)}, b, a);
  }
  // 0 where x < limit, else v.
  static Reg zeroBelow(Reg x, Reg limit, Reg v) {
    return choose({vcltq_f32(x.low, limit.low), vcltq_f32(x.high, limit.high)}, zero(), v);
  }
  static Reg powerOfTwo(Reg shifted) {  // 2^n for n in the low bits of `shifted`
    return {powerOfTwo(shifted.low), powerOfTwo(shifted.high)};
  }

  // Halves are added until one lane is left: always the same tree.
  static float reduceAdd(Reg v) {
    const float32x4_t b = vaddq_f32(v.low, v.high);
    const float32x2_t c = vadd_f32(vget_low_f32(b), vget_high_f32(b));
    return vget_lane_f32(c, 0) + vget_lane_f32(c, 1);
  }

  static float squareRoot(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }

  // Interleaved pairs: (e*c - o*s, o*c + e*s), each product and sum rounded. c and s hold every value twice.
  static Reg rotate(Reg x, Reg c, Reg s) { return {rotate(x.low, c.low, s.low), rotate(x.high, c.high, s.high)}; }

  // Integers whose order is that of the floats (no NaN, no -0), and which of them are above or equal to a limit, a bit
  // for each lane.
  struct Keys {
    int32x4_t low, high;
  };
  static Keys loadKeys(const std::int32_t* p) { return {vld1q_s32(p), vld1q_s32(p + 4)}; }
  static void storeKeys(std::int32_t* p, Keys keys) {
    vst1q_s32(p, keys.low);
    vst1q_s32(p + 4, keys.high);
  }
  static Keys keysOf(Reg v) { return {keysOf(v.low), keysOf(v.high)}; }
  static unsigned aboveBits(Keys keys, std::int32_t limit) {
    return maskBits({vcgtq_s32(keys.low, vdupq_n_s32(limit)), vcgtq_s32(keys.high, vdupq_n_s32(limit))});
  }
  static unsigned equalBits(Keys keys, std::int32_t limit) {
    return maskBits({vceqq_s32(keys.low, vdupq_n_s32(limit)), vceqq_s32(keys.high, vdupq_n_s32(limit))});
  }
  static std::int64_t countBits(unsigned bits) { return __builtin_popcount(bits); }

  // Asks for the cache line of p.
  static void prefetch(const float* p) { __builtin_prefetch(p, 0, 3); }

  // to[j][i] = from[i][j] for 8 x 8.
  static void transpose8(const float* from, std::int64_t fromRow, float* to, std::int64_t toRow) {
    for (std::int64_t i = 0; i < 8; i += 4)
      for (std::int64_t j = 0; j < 8; j += 4) transpose4(from + i * fromRow + j, fromRow, to + j * toRow + i, toRow);
  }

 private:
  struct Mask {
    uint32x4_t low, high;
  };
  static Reg choose(Mask m, Reg a, Reg b) {
    return {vbslq_f32(m.low, a.low, b.low), vbslq_f32(m.high, a.high, b.high)};
  }
  static unsigned maskBits(Mask m) {
    constexpr std::uint16_t places[kLanes] = {1, 2, 4, 8, 16, 32, 64, 128};
    return vaddvq_u16(vandq_u16(vcombine_u16(vmovn_u32(m.low), vmovn_u32(m.high)), vld1q_u16(places)));
  }

  static float32x4_t powerOfTwo(float32x4_t shifted) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vreinterpretq_s32_f32(shifted), vdupq_n_s32(127)), 23));
  }
  static float32x4_t rotate(float32x4_t x, float32x4_t c, float32x4_t s) {
    const uint32x4_t evenSign = vreinterpretq_u32_u64(vdupq_n_u64(0x80000000u));
    const uint32x4_t crossed = vreinterpretq_u32_f32(vmulq_f32(vrev64q_f32(x), s));
    return vaddq_f32(vmulq_f32(x, c), vreinterpretq_f32_u32(veorq_u32(crossed, evenSign)));
  }
  static int32x4_t keysOf(float32x4_t v) {
    const int32x4_t bits = vreinterpretq_s32_f32(v);
    const uint32x4_t sign = vreinterpretq_u32_s32(vshrq_n_s32(bits, 31));
    return veorq_s32(bits, vreinterpretq_s32_u32(vshrq_n_u32(sign, 1)));
  }
  // transpose8 for 4 x 4.
  static void transpose4(const float* from, std::int64_t fromRow, float* to, std::int64_t toRow) {
    const float32x4_t a = vld1q_f32(from), b = vld1q_f32(from + fromRow);
    const float32x4_t c = vld1q_f32(from + 2 * fromRow), d = vld1q_f32(from + 3 * fromRow);
    const float64x2_t ab = vreinterpretq_f64_f32(vtrn1q_f32(a, b)), ab1 = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
    const float64x2_t cd = vreinterpretq_f64_f32(vtrn1q_f32(c, d)), cd1 = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
    vst1q_f32(to, vreinterpretq_f32_f64(vtrn1q_f64(ab, cd)));
    vst1q_f32(to + toRow, vreinterpretq_f32_f64(vtrn1q_f64(ab1, cd1)));
    vst1q_f32(to + 2 * toRow, vreinterpretq_f32_f64(vtrn2q_f64(ab, cd)));
    vst1q_f32(to + 3 * toRow, vreinterpretq_f32_f64(vtrn2q_f64(ab1, cd1)));
  }
};

}  // namespace
}  // namespace megamoe::attention::neon
