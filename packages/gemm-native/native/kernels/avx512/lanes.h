// Vectors of AVX-512 for the templates in ../simd. Types of an anonymous namespace: what is instantiated with them
// stays in its file.
#pragma once

#include <megamoe/lanes/avx512.h>

#include <cstdint>

namespace megamoe::gemm::avx512 {
namespace {

// 16 float32 lanes.
struct F32 : megamoe::avx512::FloatLanes {
  static constexpr int kMaxRows = 6;  // 6 x 4 sums and 7 operands: 31 of the 32 registers
  static constexpr bool kPairs = false;

  // Keeps the loads of these eight in front of all that uses them.
  template <class R>
  static void hold(R (&a)[4], R (&b)[4]) {
#if defined(__GNUC__)
    __asm__ volatile(""
                     : "+v"(a[0]), "+v"(a[1]), "+v"(a[2]), "+v"(a[3]), "+v"(b[0]), "+v"(b[1]), "+v"(b[2]), "+v"(b[3]));
#endif
  }

  // 32 BF16 values; the even ones lie in the low halves of the lanes and become float32 by a shift, the odd ones by a
  // mask.
  using Bits = __m512i;
  static Bits loadBits(const std::uint16_t* p) { return _mm512_loadu_si512(p); }
  static Reg lowHalves(Bits b) { return _mm512_castsi512_ps(_mm512_slli_epi32(b, 16)); }
  static Reg highHalves(Bits b) { return _mm512_castsi512_ps(_mm512_and_si512(b, _mm512_set1_epi32(-65536))); }
  // Every second value of a and then of b.
  static Reg evens(Reg a, Reg b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
  }
  static Reg odds(Reg a, Reg b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
  }

  // 64 packed FP8 codes. Part i takes codes 2i and 2i + 1 of every eight: one instruction brings both to their places.
  using Fp8 = __m512i;
  static constexpr int kFp8Parts = 4;
  static constexpr int kFp8Rows = 3;  // 3 x 4 sums twice and 8 operands
  static Fp8 loadFp8(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
  static Reg fp8Part(Fp8 codes, int i) {
    // Byte 3 of a float32 is the code, byte 2 the code one bit further up; bytes 1 and 0 are cleared, like the other
    // bits between.
    const std::int64_t at = 16 * i;
    const std::int64_t low = (at << 24) | (((at - 1) & 63) << 16), high = ((at + 8) << 24) | ((at + 7) << 16);
    const __m512i bits = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(high << 32 | low), codes);
    return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0x87f00000u))));
  }
  static void orderFp8(Reg (&v)[kFp8Parts]) {
    // As pairs of float32: pair q of part i is pair 4q + i.
    const __m512d a = _mm512_castps_pd(v[0]), b = _mm512_castps_pd(v[1]), c = _mm512_castps_pd(v[2]),
                  d = _mm512_castps_pd(v[3]);
    for (int i = 0; i < kFp8Parts; i++) {
      const __m512i from = _mm512_setr_epi64(i, 4 + i, 8 + i, 12 + i, 0, 0, 0, 0);
      v[i] = _mm512_castpd_ps(_mm512_insertf64x4(_mm512_permutex2var_pd(a, from, b),
                                                 _mm512_castpd512_pd256(_mm512_permutex2var_pd(c, from, d)), 1));
    }
  }
  // The sums of the lanes of four registers, by one tree: (l, l+2), (l, l+1) in each quarter, then the quarters.
  static __m128 sums(Reg a, Reg b, Reg c, Reg d) {
    const Reg ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const Reg cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const Reg all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }
  // Writes the four sums times `scale`, or adds them to what is there.
  static void storeSums(Reg a, Reg b, Reg c, Reg d, float scale, bool isFirst, float* out) {
    const __m128 v = _mm_mul_ps(sums(a, b, c, d), _mm_set1_ps(scale));
    _mm_storeu_ps(out, isFirst ? v : _mm_add_ps(_mm_loadu_ps(out), v));
  }

  // Lanes where !(v < +infinity): NaN and +infinity.
  static std::uint32_t notBelowInfinity(Reg v) {
    return _mm512_cmp_ps_mask(v, _mm512_set1_ps(__builtin_inff()), _CMP_NLT_UQ);
  }
  static std::uint32_t atLeast(Reg v, Reg floor) { return _mm512_cmp_ps_mask(v, floor, _CMP_GE_OQ); }
};

// 8 float64 lanes, read from float32.
struct F64 {
  using Reg = __m512d;
  static constexpr int kMaxRows = 6;

  static Reg zero() { return _mm512_setzero_pd(); }
  static Reg splat(double v) { return _mm512_set1_pd(v); }
  static Reg load(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
  static Reg load(const double* p) { return _mm512_loadu_pd(p); }
  static void store(double* p, Reg v) { _mm512_storeu_pd(p, v); }
  static void store(float* p, Reg v) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }  // rounded
  static Reg sub(Reg a, Reg b) { return _mm512_sub_pd(a, b); }
  static Reg add(Reg a, Reg b) { return _mm512_add_pd(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_pd(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_pd(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_pd(a, b, c); }
  static Reg min(Reg a, Reg b) { return _mm512_min_pd(a, b); }
  static Reg max(Reg a, Reg b) { return _mm512_max_pd(a, b); }
  // b where v > limit, else a.
  static Reg replaceAbove(Reg v, Reg limit, Reg a, Reg b) {
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(v, limit, _CMP_GT_OQ), a, b);
  }
  // v * 2^n for integers |n| < 1023 that are held as the low bits of (n + 1.5 * 2^52).
  static Reg scaleByPower(Reg v, Reg shifted) {
    const __m512i n = _mm512_slli_epi64(_mm512_castpd_si512(shifted), 52);
    return _mm512_castsi512_pd(_mm512_add_epi64(_mm512_castpd_si512(v), n));
  }
};

}  // namespace
}  // namespace megamoe::gemm::avx512
