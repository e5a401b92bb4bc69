// ModelOpt's activation quantizer, 16 lanes at a time, with the bits of generic/stage.cc: true divisions, float32 at
// every step.
//
// Two phases over 2048 elements, which stay in the first-level cache: all scales, then all codes. In one loop every
// block would wait for its own chain of maximum, division and broadcast.
#include <immintrin.h>

#include "../simd/rows.h"
#include "avx512.h"
#include "lanes.h"

namespace megamoe::gemm::avx512 {

namespace {

constexpr std::int64_t kChunk = 2048;
constexpr std::int64_t kGroup = 256;  // elements whose 16 scales are computed together
constexpr std::uint32_t kInfinityBits = 0x7f800000u;

inline __m512i magnitude(__m512 v) { return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)); }

inline __m512i max2(__m512i a, __m512i b) { return _mm512_max_epi32(a, b); }

// Lane i of the result is the largest magnitude of block i; blocks from `blocks` on count as zeros.
inline __m512i blockMaxima(const float* x, int blocks) {
  __m512i quarter[4];
  for (int i = 0; i < 4; i++) {
    __m512i v[4];
    for (int j = 0; j < 4; j++)
      v[j] = 4 * i + j < blocks ? magnitude(_mm512_loadu_ps(x + (4 * i + j) * 16)) : _mm512_setzero_si512();
    const __m512i a = max2(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    const __m512i b = max2(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    // Lane j of each 128 bits: block 4i + j.
    quarter[i] = max2(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
  }
  const __m512i low =
      max2(_mm512_shuffle_i32x4(quarter[0], quarter[1], 0x88), _mm512_shuffle_i32x4(quarter[0], quarter[1], 0xdd));
  const __m512i high =
      max2(_mm512_shuffle_i32x4(quarter[2], quarter[3], 0x88), _mm512_shuffle_i32x4(quarter[2], quarter[3], 0xdd));
  return max2(_mm512_shuffle_i32x4(low, high, 0x88), _mm512_shuffle_i32x4(low, high, 0xdd));
}

// E4M3 codes of scales in [2^-9, 448], ties to even.
inline __m512i encodeScales(__m512 s) {
  const __m512i bits = _mm512_castps_si512(s);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7ffff)), odd);
  const __m512i normal = _mm512_sub_epi32(_mm512_srli_epi32(rounded, 20), _mm512_set1_epi32(120 << 3));
  const __m512i subnormal = _mm512_cvtps_epi32(_mm512_mul_ps(s, _mm512_set1_ps(512.f)));
  return _mm512_mask_mov_epi32(normal, _mm512_cmp_ps_mask(s, _mm512_set1_ps(0x1p-6f), _CMP_LT_OQ), subnormal);
}

// E2M1 codes of quotients. Adding 2^(e+22) to a number of exponent e rounds it, ties to even, to a multiple of 2^(e-1),
// the step between codes there (0.5 below 1, too); the low bits of the sum count the steps.
inline __m512i encodeCodes(__m512 q) {
  const __m512 a = _mm512_min_ps(_mm512_castsi512_ps(magnitude(q)), _mm512_set1_ps(6.f));
  const __m512i exponent =
      _mm512_and_si512(_mm512_castps_si512(_mm512_max_ps(a, _mm512_set1_ps(1.f))), _mm512_set1_epi32(0x7f800000));
  const __m512i magic = _mm512_add_epi32(exponent, _mm512_set1_epi32(22 << 23));
  const __m512i steps = _mm512_sub_epi32(_mm512_castps_si512(_mm512_add_ps(a, _mm512_castsi512_ps(magic))), magic);
  // steps + 2 * (exponent - 127): codes 2 to 3, 4 to 5 and 6 to 7 begin at 1, 2 and 4.
  const __m512i code =
      _mm512_add_epi32(steps, _mm512_sub_epi32(_mm512_srli_epi32(exponent, 22), _mm512_set1_epi32(254)));
  const __mmask16 negative = _mm512_cmp_ps_mask(q, _mm512_setzero_ps(), _CMP_LT_OQ);  // not -0
  return _mm512_mask_or_epi32(code, negative, code, _mm512_set1_epi32(8));
}

// Codes of four blocks as 32 bytes, the even element in the low nibble.
inline __m256i packCodes(const __m512i* code) {
  const __m512i words =
      _mm512_packus_epi16(_mm512_packus_epi32(code[0], code[1]), _mm512_packus_epi32(code[2], code[3]));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_cvtepi16_epi8(_mm512_maddubs_epi16(_mm512_permutexvar_epi32(order, words), _mm512_set1_epi16(0x1001)));
}

// Scales of up to 16 blocks, and what their elements are divided by. Returns the largest magnitudes.
inline __m512i groupScales(const float* x, int blocks, __m512 sixG, __m512 g, std::uint8_t* sf, float* steps) {
  const __m512i maxima = blockMaxima(x, blocks);
  __m512 scale = _mm512_div_ps(_mm512_castsi512_ps(maxima), sixG);
  scale = _mm512_mask_mov_ps(scale, _mm512_cmp_ps_mask(scale, _mm512_setzero_ps(), _CMP_EQ_OQ), _mm512_set1_ps(1.f));
  scale = _mm512_min_ps(_mm512_max_ps(scale, _mm512_set1_ps(0x1p-9f)), _mm512_set1_ps(448.f));
  const __m512i bytes = encodeScales(scale);
  _mm_mask_storeu_epi8(sf, static_cast<__mmask16>((1u << blocks) - 1), _mm512_cvtepi32_epi8(bytes));
  const __m512 value = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(bytes, 20)), _mm512_set1_ps(0x1p120f));
  _mm512_store_ps(steps, _mm512_mul_ps(value, g));
  return maxima;
}

// What is `coming` is fetched while codes are computed, when nothing else asks for memory: without that,
// memory and arithmetic take turns.
bool chunk(const float* x, std::int64_t n, __m512 sixG, __m512 g, std::uint8_t* codes, std::uint8_t* sf,
           nvfp4::Coming coming) {
  alignas(64) float steps[kChunk / 16];
  __m512i most = _mm512_setzero_si512();
  std::int64_t i = 0;
  for (; i + kGroup <= n; i += kGroup) most = max2(most, groupScales(x + i, 16, sixG, g, sf + i / 16, steps + i / 16));
  if (i < n)
    most = max2(most, groupScales(x + i, static_cast<int>((n - i) / 16), sixG, g, sf + i / 16, steps + i / 16));
  if (static_cast<std::uint32_t>(_mm512_reduce_max_epi32(most)) >= kInfinityBits) return false;
  for (i = 0; i + 64 <= n; i += 64) {
    if (i + 64 <= coming.n)
      for (int j = 0; j < 4; j++) _mm_prefetch(reinterpret_cast<const char*>(coming.at + i + j * 16), _MM_HINT_T0);
    __m512i code[4];
    for (int j = 0; j < 4; j++)
      code[j] = encodeCodes(_mm512_div_ps(_mm512_loadu_ps(x + i + j * 16), _mm512_set1_ps(steps[i / 16 + j])));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i / 2), packCodes(code));
  }
  if (i < n) {
    __m512i code[4];
    for (int j = 0; j < 4; j++)
      code[j] = i + j * 16 < n
                    ? encodeCodes(_mm512_div_ps(_mm512_loadu_ps(x + i + j * 16), _mm512_set1_ps(steps[i / 16 + j])))
                    : _mm512_setzero_si512();
    _mm256_mask_storeu_epi8(codes + i / 2, static_cast<__mmask32>((1u << ((n - i) / 2)) - 1), packCodes(code));
  }
  return true;
}

bool row(const float* x, std::int64_t k, float g, std::uint8_t* codes, std::uint8_t* sf, const float* next) {
  const __m512 sixG = _mm512_set1_ps(6.f * g), scale = _mm512_set1_ps(g);
  for (std::int64_t i = 0; i < k; i += kChunk) {
    const std::int64_t n = k - i < kChunk ? k - i : kChunk;
    if (!chunk(x + i, n, sixG, scale, codes + i / 2, sf + i / 16, nvfp4::comingAfter(x, i, n, k, next))) return false;
  }
  return true;
}

std::uint32_t amaxBits(const float* x, std::int64_t n) {
  __m512i most[4] = {};
  std::int64_t i = 0;
  for (; i + 64 <= n; i += 64)
    for (int j = 0; j < 4; j++) most[j] = max2(most[j], magnitude(_mm512_loadu_ps(x + i + 16 * j)));
  for (; i < n; i += 16) most[0] = max2(most[0], magnitude(_mm512_loadu_ps(x + i)));
  return static_cast<std::uint32_t>(_mm512_reduce_max_epi32(max2(max2(most[0], most[1]), max2(most[2], most[3]))));
}

}  // namespace

extern const nvfp4::StageKernels kStage = {amaxBits, row, simd::swigluRow<F64>};

}  // namespace megamoe::gemm::avx512
