// The lanes of AVX2 for the templates in ../simd: 8 floats. Compiled with its flags, in an anonymous namespace.
#pragma once

#include <megamoe/lanes/avx2.h>

#include "../simd/x86.h"

namespace megamoe::attention::avx2 {
namespace {

struct F32 : megamoe::avx2::FloatLanes, simd::X86 {
  // The register tile of ../simd/tile.h: 6 x 2 sums, 2 columns and a broadcast value are 15 of the 16 registers.
  static constexpr int kTileRows = 6;
  static constexpr int kTileVectors = 2;

  // b where a == x, else a.
  static Reg replaceEqual(Reg a, Reg x, Reg b) { return _mm256_blendv_ps(a, b, _mm256_cmp_ps(a, x, _CMP_EQ_OQ)); }
  // 0 where x < limit, else v.
  static Reg zeroBelow(Reg x, Reg limit, Reg v) { return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), v); }
  static Reg powerOfTwo(Reg shifted) {  // 2^n for n in the low bits of `shifted`
    const __m256i exponents = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponents, 23));
  }

  // Halves are added until one lane is left: always the same tree.
  static float reduceAdd(Reg v) {
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
  }

  // Interleaved pairs: (e*c - o*s, o*c + e*s), each product and sum rounded. c and s hold every value twice.
  static Reg rotate(Reg x, Reg c, Reg s) { return _mm256_addsub_ps(mul(x, c), mul(_mm256_permute_ps(x, 0xb1), s)); }

  // Integers whose order is that of the floats (no NaN, no -0), and which of them are above or equal to a limit, a bit
  // for each lane.
  using Keys = __m256i;
  static Keys loadKeys(const std::int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Keys keysOf(Reg v) {
    const __m256i bits = _mm256_castps_si256(v);
    return _mm256_xor_si256(bits, _mm256_srli_epi32(_mm256_srai_epi32(bits, 31), 1));
  }
  static void storeKeys(std::int32_t* p, Keys keys) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), keys); }
  static unsigned aboveBits(Keys keys, std::int32_t limit) {
    return maskBits(_mm256_cmpgt_epi32(keys, _mm256_set1_epi32(limit)));
  }
  static unsigned equalBits(Keys keys, std::int32_t limit) {
    return maskBits(_mm256_cmpeq_epi32(keys, _mm256_set1_epi32(limit)));
  }

 private:
  static unsigned maskBits(__m256i m) { return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(m))); }
};

}  // namespace
}  // namespace megamoe::attention::avx2
