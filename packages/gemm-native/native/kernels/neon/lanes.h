// Vectors of NEON for the templates in ../simd: two or four registers each, so that lanes and order are those of AVX2,
// and so are the bits. Types of an anonymous namespace: what is instantiated with them stays in its file.
#pragma once

#include <megamoe/lanes/neon.h>

#include <cstdint>

namespace megamoe::gemm::neon {
namespace {

// 8 float32 lanes.
struct F32 : megamoe::neon::FloatLanes {
  static constexpr int kMaxRows = 2;  // 2 x 4 sums of two registers, and 12 of operands: 28 of the 32 registers
  static constexpr bool kPairs = false;

  // Keeps the loads of these eight in front of all that uses them.
  template <class R>
  static void hold(R (&a)[4], R (&b)[4]) {
    __asm__ volatile(""
                     : "+w"(a[0].low), "+w"(a[1].low), "+w"(a[2].low), "+w"(a[3].low), "+w"(a[0].high), "+w"(a[1].high),
                       "+w"(a[2].high), "+w"(a[3].high));
    __asm__ volatile(""
                     : "+w"(b[0].low), "+w"(b[1].low), "+w"(b[2].low), "+w"(b[3].low), "+w"(b[0].high), "+w"(b[1].high),
                       "+w"(b[2].high), "+w"(b[3].high));
  }

  // 16 BF16 values; the even ones lie in the low halves of the lanes and become float32 by a shift, the odd ones by a
  // mask.
  struct Bits {
    uint32x4_t low, high;
  };
  static Bits loadBits(const std::uint16_t* p) {
    return {vreinterpretq_u32_u16(vld1q_u16(p)), vreinterpretq_u32_u16(vld1q_u16(p + 8))};
  }
  static Reg lowHalves(Bits b) {
    return {vreinterpretq_f32_u32(vshlq_n_u32(b.low, 16)), vreinterpretq_f32_u32(vshlq_n_u32(b.high, 16))};
  }
  static Reg highHalves(Bits b) {
    const uint32x4_t mask = vdupq_n_u32(0xffff0000u);
    return {vreinterpretq_f32_u32(vandq_u32(b.low, mask)), vreinterpretq_f32_u32(vandq_u32(b.high, mask))};
  }
  // Every second value of a and then of b.
  static Reg evens(Reg a, Reg b) { return {vuzp1q_f32(a.low, a.high), vuzp1q_f32(b.low, b.high)}; }
  static Reg odds(Reg a, Reg b) { return {vuzp2q_f32(a.low, a.high), vuzp2q_f32(b.low, b.high)}; }

  // 32 packed FP8 codes. The code and the code one bit further up are the high and low byte of a BF16: interleaved, in
  // each register by itself, they are 32 of them.
  struct Fp8 {
    uint8x16_t low, high;
  };
  static constexpr int kFp8Parts = 4;
  static constexpr int kFp8Rows = 2;
  static Fp8 loadFp8(const std::uint8_t* p) { return {vld1q_u8(p), vld1q_u8(p + 16)}; }
  static Reg fp8Part(Fp8 codes, int i) {
    const Bits bf16 = {fp8Bits(codes.low, i < 2), fp8Bits(codes.high, i < 2)};
    return (i & 1) == 0 ? lowHalves(bf16) : highHalves(bf16);
  }
  static void orderFp8(Reg (&v)[kFp8Parts]) {
    const Reg a = v[0], b = v[1];
    v[0] = evens(a, v[2]), v[1] = odds(a, v[2]);
    v[2] = evens(b, v[3]), v[3] = odds(b, v[3]);
  }

  // The sums of the lanes of four registers, in double and rounded once: the halves, then (l, l+1), then the rest.
  static float32x4_t sums(Reg a, Reg b, Reg c, Reg d) {
    const float64x2_t ab = vpaddq_f64(pairs(a), pairs(b)), cd = vpaddq_f64(pairs(c), pairs(d));
    return vcvt_high_f32_f64(vcvt_f32_f64(ab), cd);
  }
  // Writes the four sums times `scale`, or adds them to what is there.
  static void storeSums(Reg a, Reg b, Reg c, Reg d, float scale, bool isFirst, float* out) {
    const float32x4_t v = vmulq_n_f32(sums(a, b, c, d), scale);
    vst1q_f32(out, isFirst ? v : vaddq_f32(vld1q_f32(out), v));
  }

  // Lanes where !(v < +infinity): NaN and +infinity.
  static std::uint32_t notBelowInfinity(Reg v) {
    const float32x4_t infinity = vdupq_n_f32(__builtin_inff());
    return 0xff ^ bits(vcltq_f32(v.low, infinity), vcltq_f32(v.high, infinity));
  }
  static std::uint32_t atLeast(Reg v, Reg floor) {
    return bits(vcgeq_f32(v.low, floor.low), vcgeq_f32(v.high, floor.high));
  }

 private:
  static uint32x4_t fp8Bits(uint8x16_t codes, bool first) {
    const uint8x16_t high = vandq_u8(codes, vdupq_n_u8(0x87)), low = vandq_u8(vshlq_n_u8(codes, 1), vdupq_n_u8(0xf0));
    return vreinterpretq_u32_u8(first ? vzip1q_u8(low, high) : vzip2q_u8(low, high));
  }
  static float64x2_t pairs(Reg v) {
    const float64x2_t low = vaddq_f64(vcvt_f64_f32(vget_low_f32(v.low)), vcvt_f64_f32(vget_low_f32(v.high)));
    const float64x2_t high = vaddq_f64(vcvt_high_f64_f32(v.low), vcvt_high_f64_f32(v.high));
    return vpaddq_f64(low, high);
  }
  // One bit for each lane that is all ones.
  static std::uint32_t bits(uint32x4_t low, uint32x4_t high) {
    constexpr std::uint16_t places[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    return vaddvq_u16(vandq_u16(vcombine_u16(vmovn_u32(low), vmovn_u32(high)), vld1q_u16(places)));
  }
};

// 8 float64 lanes, read from float32.
struct F64 {
  struct Reg {
    float64x2_t a, b, c, d;
  };
  static constexpr int kMaxRows = 1;

  static Reg zero() { return splat(0.0); }
  static Reg splat(double v) { return {vdupq_n_f64(v), vdupq_n_f64(v), vdupq_n_f64(v), vdupq_n_f64(v)}; }
  static Reg load(const float* p) {
    const float32x4_t low = vld1q_f32(p), high = vld1q_f32(p + 4);
    return {vcvt_f64_f32(vget_low_f32(low)), vcvt_high_f64_f32(low), vcvt_f64_f32(vget_low_f32(high)),
            vcvt_high_f64_f32(high)};
  }
  static Reg load(const double* p) { return {vld1q_f64(p), vld1q_f64(p + 2), vld1q_f64(p + 4), vld1q_f64(p + 6)}; }
  static void store(double* p, Reg v) {
    vst1q_f64(p, v.a);
    vst1q_f64(p + 2, v.b);
    vst1q_f64(p + 4, v.c);
    vst1q_f64(p + 6, v.d);
  }
  static void store(float* p, Reg v) {  // rounded
    vst1q_f32(p, vcvt_high_f32_f64(vcvt_f32_f64(v.a), v.b));
    vst1q_f32(p + 4, vcvt_high_f32_f64(vcvt_f32_f64(v.c), v.d));
  }
  static Reg sub(Reg x, Reg y) {
    return {vsubq_f64(x.a, y.a), vsubq_f64(x.b, y.b), vsubq_f64(x.c, y.c), vsubq_f64(x.d, y.d)};
  }
  static Reg add(Reg x, Reg y) {
    return {vaddq_f64(x.a, y.a), vaddq_f64(x.b, y.b), vaddq_f64(x.c, y.c), vaddq_f64(x.d, y.d)};
  }
  static Reg mul(Reg x, Reg y) {
    return {vmulq_f64(x.a, y.a), vmulq_f64(x.b, y.b), vmulq_f64(x.c, y.c), vmulq_f64(x.d, y.d)};
  }
  static Reg div(Reg x, Reg y) {
    return {vdivq_f64(x.a, y.a), vdivq_f64(x.b, y.b), vdivq_f64(x.c, y.c), vdivq_f64(x.d, y.d)};
  }
  static Reg fma(Reg x, Reg y, Reg z) {
    return {vfmaq_f64(z.a, x.a, y.a), vfmaq_f64(z.b, x.b, y.b), vfmaq_f64(z.c, x.c, y.c), vfmaq_f64(z.d, x.d, y.d)};
  }
  // The second operand when one is NaN.
  static Reg min(Reg x, Reg y) { return {least(x.a, y.a), least(x.b, y.b), least(x.c, y.c), least(x.d, y.d)}; }
  static Reg max(Reg x, Reg y) { return {most(x.a, y.a), most(x.b, y.b), most(x.c, y.c), most(x.d, y.d)}; }
  // y where v > limit, else x.
  static Reg replaceAbove(Reg v, Reg limit, Reg x, Reg y) {
    return {vbslq_f64(vcgtq_f64(v.a, limit.a), y.a, x.a), vbslq_f64(vcgtq_f64(v.b, limit.b), y.b, x.b),
            vbslq_f64(vcgtq_f64(v.c, limit.c), y.c, x.c), vbslq_f64(vcgtq_f64(v.d, limit.d), y.d, x.d)};
  }
  // v * 2^n for integers |n| < 1023 that are held as the low bits of (n + 1.5 * 2^52).
  static Reg scaleByPower(Reg v, Reg shifted) {
    return {scaled(v.a, shifted.a), scaled(v.b, shifted.b), scaled(v.c, shifted.c), scaled(v.d, shifted.d)};
  }

 private:
  static float64x2_t least(float64x2_t x, float64x2_t y) { return vbslq_f64(vcltq_f64(x, y), x, y); }
  static float64x2_t most(float64x2_t x, float64x2_t y) { return vbslq_f64(vcgtq_f64(x, y), x, y); }
  static float64x2_t scaled(float64x2_t v, float64x2_t shifted) {
    const int64x2_t n = vshlq_n_s64(vreinterpretq_s64_f64(shifted), 52);
    return vreinterpretq_f64_s64(vaddq_s64(vreinterpretq_s64_f64(v), n));
  }
};

}  // namespace
}  // namespace megamoe::gemm::neon
