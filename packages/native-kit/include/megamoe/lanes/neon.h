// 8 float32 lanes of NEON in two registers, so that lanes and order are those of AVX2, and so are the bits: see avx2.h.
#pragma once

#include <arm_neon.h>

namespace megamoe::neon {
namespace {

struct FloatLanes {
  struct Reg {
    float32x4_t low, high;
  };
  static constexpr int kLanes = 8;

  static Reg zero() { return splat(0.f); }
  static Reg splat(float v) { return {vdupq_n_f32(v), vdupq_n_f32(v)}; }
  static Reg load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  // The first n < kLanes values, then zeros; nothing behind them is touched.
  static Reg loadFirst(const float* p, int n) {
    float values[kLanes] = {};
    for (int i = 0; i < n; i++) values[i] = p[i];
    return load(values);
  }
  static void store(float* p, Reg v) {
    vst1q_f32(p, v.low);
    vst1q_f32(p + 4, v.high);
  }
  static void storeFirst(float* p, int n, Reg v) {
    float values[kLanes];
    store(values, v);
    for (int i = 0; i < n; i++) p[i] = values[i];
  }

  static Reg add(Reg a, Reg b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
  static Reg sub(Reg a, Reg b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
  static Reg mul(Reg a, Reg b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
  static Reg div(Reg a, Reg b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
  // a*b + c, and c - a*b, rounded once.
  static Reg fma(Reg a, Reg b, Reg c) { return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)}; }
  static Reg fmaNeg(Reg a, Reg b, Reg c) { return {vfmsq_f32(c.low, a.low, b.low), vfmsq_f32(c.high, a.high, b.high)}; }
  // The second operand when one is NaN.
  static Reg max(Reg a, Reg b) {
    return {vbslq_f32(vcgtq_f32(a.low, b.low), a.low, b.low), vbslq_f32(vcgtq_f32(a.high, b.high), a.high, b.high)};
  }
};

}  // namespace
}  // namespace megamoe::neon
