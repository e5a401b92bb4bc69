// Vectors of AVX2 and FMA for the templates in ../simd. Types of an anonymous namespace: what is instantiated with them
// stays in its file.
#pragma once

#include <megamoe/lanes/avx2.h>

#include <cstdint>

namespace megamoe::gemm::avx2 {
namespace {

// 8 float32 lanes.
struct F32 : megamoe::avx2::FloatLanes {
  static constexpr int kMaxRows = 3;  // 3 x 4 sums and 4 operands: all 16 registers
  static constexpr bool kPairs = false;

  // Keeps the loads of these eight in front of all that uses them.
  template <class R>
  static void hold(R (&a)[4], R (&b)[4]) {
#if defined(__GNUC__)
    __asm__ volatile(""
                     : "+x"(a[0]), "+x"(a[1]), "+x"(a[2]), "+x"(a[3]), "+x"(b[0]), "+x"(b[1]), "+x"(b[2]), "+x"(b[3]));
#endif
  }

  // 16 BF16 values; the even ones lie in the low halves of the lanes and become float32 by a shift, the odd ones by a
  // mask.
  using Bits = __m256i;
  static Bits loadBits(const std::uint16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Reg lowHalves(Bits b) { return _mm256_castsi256_ps(_mm256_slli_epi32(b, 16)); }
  static Reg highHalves(Bits b) { return _mm256_castsi256_ps(_mm256_and_si256(b, _mm256_set1_epi32(-65536))); }
  // Every second value of a and then of b.
  static Reg evens(Reg a, Reg b) { return inOrder(_mm256_shuffle_ps(a, b, 0x88)); }
  static Reg odds(Reg a, Reg b) { return inOrder(_mm256_shuffle_ps(a, b, 0xdd)); }

  // 32 packed FP8 codes. The code and the code one bit further up are the high and low byte of a BF16: interleaved, in
  // each half of the register by itself, they are 32 of them.
  using Fp8 = __m256i;
  static constexpr int kFp8Parts = 4;
  static constexpr int kFp8Rows = 2;
  static Fp8 loadFp8(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Reg fp8Part(Fp8 codes, int i) {
    const __m256i high = _mm256_and_si256(codes, _mm256_set1_epi8(static_cast<char>(0x87)));
    const __m256i low = _mm256_and_si256(_mm256_add_epi8(codes, codes), _mm256_set1_epi8(static_cast<char>(0xf0)));
    const __m256i bf16 = i < 2 ? _mm256_unpacklo_epi8(low, high) : _mm256_unpackhi_epi8(low, high);
    return (i & 1) == 0 ? lowHalves(bf16) : highHalves(bf16);
  }
  static void orderFp8(Reg (&v)[kFp8Parts]) {
    const Reg a = v[0], b = v[1];
    v[0] = evens(a, v[2]), v[1] = odds(a, v[2]);
    v[2] = evens(b, v[3]), v[3] = odds(b, v[3]);
  }
  // The sums of the lanes of four registers, in double and rounded once: the halves, then (l, l+1), then the rest.
  static __m128 sums(Reg a, Reg b, Reg c, Reg d) {
    const __m256d ab = _mm256_hadd_pd(halves(a), halves(b)), cd = _mm256_hadd_pd(halves(c), halves(d));
    return _mm256_cvtpd_ps(_mm256_add_pd(_mm256_permute2f128_pd(ab, cd, 0x20), _mm256_permute2f128_pd(ab, cd, 0x31)));
  }
  // Writes the four sums times `scale`, or adds them to what is there.
  static void storeSums(Reg a, Reg b, Reg c, Reg d, float scale, bool isFirst, float* out) {
    const __m128 v = _mm_mul_ps(sums(a, b, c, d), _mm_set1_ps(scale));
    _mm_storeu_ps(out, isFirst ? v : _mm_add_ps(_mm_loadu_ps(out), v));
  }
  static __m256d halves(Reg v) {
    return _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
  }

  // Lanes where !(v < +infinity): NaN and +infinity.
  static std::uint32_t notBelowInfinity(Reg v) {
    return static_cast<std::uint32_t>(
        _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_set1_ps(__builtin_inff()), _CMP_NLT_UQ)));
  }
  static std::uint32_t atLeast(Reg v, Reg floor) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(v, floor, _CMP_GE_OQ)));
  }

 private:
  static Reg inOrder(Reg v) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8)); }
};

// 8 float64 lanes in two registers, read from float32.
struct F64 {
  struct Reg {
    __m256d low, high;
  };
  static constexpr int kMaxRows = 1;

  static Reg zero() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
  static Reg splat(double v) { return {_mm256_set1_pd(v), _mm256_set1_pd(v)}; }
  static Reg load(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))}; }
  static Reg load(const double* p) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
  static void store(double* p, Reg v) {
    _mm256_storeu_pd(p, v.low);
    _mm256_storeu_pd(p + 4, v.high);
  }
  static void store(float* p, Reg v) {  // rounded
    _mm_storeu_ps(p, _mm256_cvtpd_ps(v.low));
    _mm_storeu_ps(p + 4, _mm256_cvtpd_ps(v.high));
  }
  static Reg sub(Reg a, Reg b) { return {_mm256_sub_pd(a.low, b.low), _mm256_sub_pd(a.high, b.high)}; }
  static Reg add(Reg a, Reg b) { return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)}; }
  static Reg mul(Reg a, Reg b) { return {_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)}; }
  static Reg div(Reg a, Reg b) { return {_mm256_div_pd(a.low, b.low), _mm256_div_pd(a.high, b.high)}; }
  static Reg fma(Reg a, Reg b, Reg c) {
    return {_mm256_fmadd_pd(a.low, b.low, c.low), _mm256_fmadd_pd(a.high, b.high, c.high)};
  }
  static Reg min(Reg a, Reg b) { return {_mm256_min_pd(a.low, b.low), _mm256_min_pd(a.high, b.high)}; }
  static Reg max(Reg a, Reg b) { return {_mm256_max_pd(a.low, b.low), _mm256_max_pd(a.high, b.high)}; }
  // b where v > limit, else a.
  static Reg replaceAbove(Reg v, Reg limit, Reg a, Reg b) {
    return {_mm256_blendv_pd(a.low, b.low, _mm256_cmp_pd(v.low, limit.low, _CMP_GT_OQ)),
            _mm256_blendv_pd(a.high, b.high, _mm256_cmp_pd(v.high, limit.high, _CMP_GT_OQ))};
  }
  // v * 2^n for integers |n| < 1023 that are held as the low bits of (n + 1.5 * 2^52).
  static Reg scaleByPower(Reg v, Reg shifted) {
    return {scaleHalf(v.low, shifted.low), scaleHalf(v.high, shifted.high)};
  }

 private:
  static __m256d scaleHalf(__m256d v, __m256d shifted) {
    const __m256i n = _mm256_slli_epi64(_mm256_castpd_si256(shifted), 52);
    return _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(v), n));
  }
};

}  // namespace
}  // namespace megamoe::gemm::avx2
