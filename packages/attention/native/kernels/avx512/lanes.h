// One vector of 16 floats: the vocabulary that ../simd is written in. Included inside the namespace of this instruction
// set.
#include <cstdint>

#include "../simd/x86.h"

using Vec = __m512;
using Bits = unsigned;  // one bit a lane

constexpr int64_t kLanes = 16;
// The register tile of ../simd/tile.h: 6 x 4 sums, 4 columns and a broadcast value are 29 of the 32 registers.
constexpr int kTileRows = 6;
constexpr int kTileVectors = 4;

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec all(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
// The first n < kLanes lanes; nothing past them is touched, and lanes past them are 0.
inline Vec loadPart(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
inline void storePart(float* p, Vec v, int64_t n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
}

inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }      // a*b + c, rounded once
inline Vec fmaNeg(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a*b, rounded once
inline Vec maxOr(Vec a, Vec b) { return _mm512_max_ps(a, b); }                // b when either is NaN

// b where a == x, else a.
inline Vec replaceEqual(Vec a, Vec x, Vec b) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, x, _CMP_EQ_OQ), a, b);
}
// 0 where x < limit, else v.
inline Vec zeroBelow(Vec x, Vec limit, Vec v) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v);
}
inline Vec powerOfTwo(Vec shifted) {  // 2^n for n in the low bits of `shifted`
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127)), 23));
}

// Halves are added until one lane is left: always the same tree.
inline float reduceAdd(Vec v) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

// Interleaved pairs: (e*c - o*s, o*c + e*s), each product and sum rounded. c and s hold every value twice.
inline Vec rotate(Vec x, Vec c, Vec s) {
  const Vec straight = mul(x, c);
  const Vec crossed = mul(_mm512_permute_ps(x, 0xb1), s);
  return _mm512_mask_sub_ps(_mm512_add_ps(straight, crossed), 0x5555, straight, crossed);
}

// Integers whose order is that of the floats (no NaN, no -0), and which of them are above or equal to a limit.
using Keys = __m512i;
inline Keys loadKeys(const int32_t* p) { return _mm512_loadu_si512(p); }
inline Keys keysOf(Vec v) {
  const __m512i bits = _mm512_castps_si512(v);
  return _mm512_xor_si512(bits, _mm512_srli_epi32(_mm512_srai_epi32(bits, 31), 1));
}
inline void storeKeys(int32_t* p, Keys keys) { _mm512_storeu_si512(p, keys); }
inline Bits aboveBits(Keys keys, int32_t limit) { return _mm512_cmpgt_epi32_mask(keys, _mm512_set1_epi32(limit)); }
inline Bits equalBits(Keys keys, int32_t limit) { return _mm512_cmpeq_epi32_mask(keys, _mm512_set1_epi32(limit)); }
