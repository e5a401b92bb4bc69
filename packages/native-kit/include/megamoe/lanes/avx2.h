// 8 float32 lanes of AVX2 and FMA: the words that kernels of all packages have in common. Their own lanes add to them.
//
// In an anonymous namespace: what is instantiated with this type stays in its file, so that no wide instruction reaches
// code that runs everywhere.
#pragma once

#include <immintrin.h>

namespace megamoe::avx2 {
namespace {

struct FloatLanes {
  using Reg = __m256;
  static constexpr int kLanes = 8;

  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg splat(float v) { return _mm256_set1_ps(v); }
  static Reg load(const float* p) { return _mm256_loadu_ps(p); }
  // The first n < kLanes values, then zeros; nothing behind them is touched.
  static Reg loadFirst(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
  static void store(float* p, Reg v) { _mm256_storeu_ps(p, v); }
  static void storeFirst(float* p, int n, Reg v) { _mm256_maskstore_ps(p, first(n), v); }

  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }      // a*b + c, rounded once
  static Reg fmaNeg(Reg a, Reg b, Reg c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a*b, rounded once
  // The second operand when one is NaN.
  static Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }

 private:
  static __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

}  // namespace
}  // namespace megamoe::avx2
