// The lanes of AVX-512 for the templates in ../simd: 16 floats. Compiled with its flags, in an anonymous namespace.
#pragma once

#include <megamoe/lanes/avx512.h>

#include "../simd/x86.h"

namespace megamoe::attention::avx512 {
namespace {

struct F32 : megamoe::avx512::FloatLanes, simd::X86 {
  // The register tile of ../simd/tile.h: 6 x 4 sums, 4 columns and a broadcast value are 29 of the 32 registers.
  static constexpr int kTileRows = 6;
  static constexpr int kTileVectors = 4;

  // b where a == x, else a.
  static Reg replaceEqual(Reg a, Reg x, Reg b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, x, _CMP_EQ_OQ), a, b);
  }
  // 0 where x < limit, else v.
  static Reg zeroBelow(Reg x, Reg limit, Reg v) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v);
  }
  static Reg powerOfTwo(Reg shifted) {  // 2^n for n in the low bits of `shifted`
    const __m512i exponents = _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponents, 23));
  }

  // Halves are added until one lane is left: always the same tree.
  static float reduceAdd(Reg v) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
  }

  // Interleaved pairs: (e*c - o*s, o*c + e*s), each product and sum rounded. c and s hold every value twice.
  static Reg rotate(Reg x, Reg c, Reg s) {
    const Reg straight = mul(x, c);
    const Reg crossed = mul(_mm512_permute_ps(x, 0xb1), s);
    return _mm512_mask_sub_ps(_mm512_add_ps(straight, crossed), 0x5555, straight, crossed);
  }

  // Integers whose order is that of the floats (no NaN, no -0), and which of them are above or equal to a limit, a bit
  // for each lane.
  using Keys = __m512i;
  static Keys loadKeys(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static Keys keysOf(Reg v) {
    const __m512i bits = _mm512_castps_si512(v);
    return _mm512_xor_si512(bits, _mm512_srli_epi32(_mm512_srai_epi32(bits, 31), 1));
  }
  static void storeKeys(std::int32_t* p, Keys keys) { _mm512_storeu_si512(p, keys); }
  static unsigned aboveBits(Keys keys, std::int32_t limit) {
    return _mm512_cmpgt_epi32_mask(keys, _mm512_set1_epi32(limit));
  }
  static unsigned equalBits(Keys keys, std::int32_t limit) {
    return _mm512_cmpeq_epi32_mask(keys, _mm512_set1_epi32(limit));
  }
};

}  // namespace
}  // namespace megamoe::attention::avx512
