// 16 float32 lanes of AVX-512 F: see avx2.h.
#pragma once

#include <immintrin.h>

namespace megamoe::avx512 {
namespace {

struct FloatLanes {
  using Reg = __m512;
  static constexpr int kLanes = 16;

  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg splat(float v) { return _mm512_set1_ps(v); }
  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  // The first n < kLanes values, then zeros; nothing behind them is touched.
  static Reg loadFirst(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store(float* p, Reg v) { _mm512_storeu_ps(p, v); }
  static void storeFirst(float* p, int n, Reg v) { _mm512_mask_storeu_ps(p, first(n), v); }

  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }      // a*b + c, rounded once
  static Reg fmaNeg(Reg a, Reg b, Reg c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a*b, rounded once
  // The second operand when one is NaN.
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }

 private:
  static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
};

}  // namespace
}  // namespace megamoe::avx512
