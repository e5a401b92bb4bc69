// One vector of 8 floats: the vocabulary that ../simd is written in. Included inside the namespace of this instruction
// set.
#include <cstdint>

#include "../simd/x86.h"

using Vec = __m256;
using Bits = unsigned;  // one bit a lane

constexpr int64_t kLanes = 8;
// The register tile of ../simd/tile.h: 6 x 2 sums, 2 columns and a broadcast value are 15 of the 16 registers.
constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;

inline __m256i firstLanes(int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec all(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
// The first n < kLanes lanes; nothing past them is touched, and lanes past them are 0.
inline Vec loadPart(const float* p, int64_t n) { return _mm256_maskload_ps(p, firstLanes(n)); }
inline void storePart(float* p, Vec v, int64_t n) { _mm256_maskstore_ps(p, firstLanes(n), v); }

inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }      // a*b + c, rounded once
inline Vec fmaNeg(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a*b, rounded once
inline Vec maxOr(Vec a, Vec b) { return _mm256_max_ps(a, b); }                // b when either is NaN

// b where a == x, else a.
inline Vec replaceEqual(Vec a, Vec x, Vec b) { return _mm256_blendv_ps(a, b, _mm256_cmp_ps(a, x, _CMP_EQ_OQ)); }
// 0 where x < limit, else v.
inline Vec zeroBelow(Vec x, Vec limit, Vec v) { return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), v); }
inline Vec powerOfTwo(Vec shifted) {  // 2^n for n in the low bits of `shifted`
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127)), 23));
}

// Halves are added until one lane is left: always the same tree.
inline float reduceAdd(Vec v) {
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

// Interleaved pairs: (e*c - o*s, o*c + e*s), each product and sum rounded. c and s hold every value twice.
inline Vec rotate(Vec x, Vec c, Vec s) { return _mm256_addsub_ps(mul(x, c), mul(_mm256_permute_ps(x, 0xb1), s)); }

// Integers whose order is that of the floats (no NaN, no -0), and which of them are above or equal to a limit.
using Keys = __m256i;
inline Keys loadKeys(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Keys keysOf(Vec v) {
  const __m256i bits = _mm256_castps_si256(v);
  return _mm256_xor_si256(bits, _mm256_srli_epi32(_mm256_srai_epi32(bits, 31), 1));
}
inline void storeKeys(int32_t* p, Keys keys) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), keys); }
inline Bits maskBits(__m256i m) { return static_cast<Bits>(_mm256_movemask_ps(_mm256_castsi256_ps(m))); }
inline Bits aboveBits(Keys keys, int32_t limit) { return maskBits(_mm256_cmpgt_epi32(keys, _mm256_set1_epi32(limit))); }
inline Bits equalBits(Keys keys, int32_t limit) { return maskBits(_mm256_cmpeq_epi32(keys, _mm256_set1_epi32(limit))); }
