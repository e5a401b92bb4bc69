// ModelOpt's activation quantizer, 8 lanes at a time, in the two phases of avx512/stage.cc and with the bits of
// generic/stage.cc.
#include <immintrin.h>

#include "../simd/rows.h"
#include "avx2.h"
#include "lanes.h"

namespace megamoe::gemm::avx2 {

namespace {

constexpr std::int64_t kChunk = 2048;
constexpr std::int64_t kGroup = 128;  // elements whose 8 scales are computed together
constexpr std::uint32_t kInfinityBits = 0x7f800000u;

inline __m256i magnitude(__m256 v) { return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff)); }

inline __m256i max2(__m256i a, __m256i b) { return _mm256_max_epi32(a, b); }

inline std::uint32_t largest(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(m));
}

// Lane i of the result is the largest magnitude of block i; blocks from `blocks` on count as zeros.
inline __m256i blockMaxima(const float* x, int blocks) {
  __m256i half[2];
  for (int i = 0; i < 2; i++) {
    __m256i v[4];
    for (int j = 0; j < 4; j++) {
      const float* block = x + (4 * i + j) * 16;
      v[j] = 4 * i + j < blocks ? max2(magnitude(_mm256_loadu_ps(block)), magnitude(_mm256_loadu_ps(block + 8)))
                                : _mm256_setzero_si256();
    }
    const __m256i a = max2(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
    const __m256i b = max2(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
    // Lane j of each 128 bits: block 4i + j.
    half[i] = max2(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
  }
  return max2(_mm256_permute2x128_si256(half[0], half[1], 0x20), _mm256_permute2x128_si256(half[0], half[1], 0x31));
}

// E4M3 codes of scales in [2^-9, 448], ties to even.
inline __m256i encodeScales(__m256 s) {
  const __m256i bits = _mm256_castps_si256(s);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 20), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7ffff)), odd);
  const __m256i normal = _mm256_sub_epi32(_mm256_srli_epi32(rounded, 20), _mm256_set1_epi32(120 << 3));
  const __m256i subnormal = _mm256_cvtps_epi32(_mm256_mul_ps(s, _mm256_set1_ps(512.f)));
  const __m256 small = _mm256_cmp_ps(s, _mm256_set1_ps(0x1p-6f), _CMP_LT_OQ);
  return _mm256_blendv_epi8(normal, subnormal, _mm256_castps_si256(small));
}

// E2M1 codes of quotients; see avx512/stage.cc.
inline __m256i encodeCodes(__m256 q) {
  const __m256 a = _mm256_min_ps(_mm256_castsi256_ps(magnitude(q)), _mm256_set1_ps(6.f));
  const __m256i exponent =
      _mm256_and_si256(_mm256_castps_si256(_mm256_max_ps(a, _mm256_set1_ps(1.f))), _mm256_set1_epi32(0x7f800000));
  const __m256i magic = _mm256_add_epi32(exponent, _mm256_set1_epi32(22 << 23));
  const __m256i steps = _mm256_sub_epi32(_mm256_castps_si256(_mm256_add_ps(a, _mm256_castsi256_ps(magic))), magic);
  const __m256i code =
      _mm256_add_epi32(steps, _mm256_sub_epi32(_mm256_srli_epi32(exponent, 22), _mm256_set1_epi32(254)));
  const __m256 negative = _mm256_cmp_ps(q, _mm256_setzero_ps(), _CMP_LT_OQ);  // not -0
  return _mm256_or_si256(code, _mm256_and_si256(_mm256_castps_si256(negative), _mm256_set1_epi32(8)));
}

// Codes of two blocks as 16 bytes, the even element in the low nibble.
inline __m128i packCodes(const __m256i* code) {
  const __m256i bytes =
      _mm256_packus_epi16(_mm256_packus_epi32(code[0], code[1]), _mm256_packus_epi32(code[2], code[3]));
  const __m256i ordered = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  const __m256i pairs = _mm256_maddubs_epi16(ordered, _mm256_set1_epi16(0x1001));
  return _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
}

// Scales of up to 8 blocks, and what their elements are divided by. Returns the largest magnitudes.
inline __m256i groupScales(const float* x, int blocks, __m256 sixG, __m256 g, std::uint8_t* sf, float* steps) {
  const __m256i maxima = blockMaxima(x, blocks);
  __m256 scale = _mm256_div_ps(_mm256_castsi256_ps(maxima), sixG);
  scale = _mm256_blendv_ps(scale, _mm256_set1_ps(1.f), _mm256_cmp_ps(scale, _mm256_setzero_ps(), _CMP_EQ_OQ));
  scale = _mm256_min_ps(_mm256_max_ps(scale, _mm256_set1_ps(0x1p-9f)), _mm256_set1_ps(448.f));
  const __m256i codes = encodeScales(scale);
  alignas(32) std::int32_t bytes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(bytes), codes);
  for (int i = 0; i < blocks; i++) sf[i] = static_cast<std::uint8_t>(bytes[i]);
  const __m256 value = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(codes, 20)), _mm256_set1_ps(0x1p120f));
  _mm256_store_ps(steps, _mm256_mul_ps(value, g));
  return maxima;
}

inline void blockCodes(const float* x, float step, __m256i* code) {
  const __m256 s = _mm256_set1_ps(step);
  for (int i = 0; i < 2; i++) code[i] = encodeCodes(_mm256_div_ps(_mm256_loadu_ps(x + 8 * i), s));
}

// What is `coming` is fetched while codes are computed, when nothing else asks for memory: without that,
// memory and arithmetic take turns.
bool chunk(const float* x, std::int64_t n, __m256 sixG, __m256 g, std::uint8_t* codes, std::uint8_t* sf,
           nvfp4::Coming coming) {
  alignas(32) float steps[kChunk / 16];
  __m256i most = _mm256_setzero_si256();
  for (std::int64_t i = 0; i < n; i += kGroup) {
    const std::int64_t left = n - i < kGroup ? n - i : kGroup;
    most = max2(most, groupScales(x + i, static_cast<int>(left / 16), sixG, g, sf + i / 16, steps + i / 16));
  }
  if (largest(most) >= kInfinityBits) return false;
  std::int64_t i = 0;
  __m256i code[4];
  for (; i + 32 <= n; i += 32) {
    if (i + 32 <= coming.n)
      for (int j = 0; j < 2; j++) _mm_prefetch(reinterpret_cast<const char*>(coming.at + i + j * 16), _MM_HINT_T0);
    blockCodes(x + i, steps[i / 16], code);
    blockCodes(x + i + 16, steps[i / 16 + 1], code + 2);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i / 2), packCodes(code));
  }
  if (i < n) {
    blockCodes(x + i, steps[i / 16], code);
    code[2] = code[3] = _mm256_setzero_si256();
    _mm_storel_epi64(reinterpret_cast<__m128i*>(codes + i / 2), packCodes(code));
  }
  return true;
}

bool row(const float* x, std::int64_t k, float g, std::uint8_t* codes, std::uint8_t* sf, const float* next) {
  const __m256 sixG = _mm256_set1_ps(6.f * g), scale = _mm256_set1_ps(g);
  for (std::int64_t i = 0; i < k; i += kChunk) {
    const std::int64_t n = k - i < kChunk ? k - i : kChunk;
    if (!chunk(x + i, n, sixG, scale, codes + i / 2, sf + i / 16, nvfp4::comingAfter(x, i, n, k, next))) return false;
  }
  return true;
}

std::uint32_t amaxBits(const float* x, std::int64_t n) {
  __m256i most[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  for (std::int64_t i = 0; i < n; i += 16)
    for (int j = 0; j < 2; j++) most[j] = max2(most[j], magnitude(_mm256_loadu_ps(x + i + 8 * j)));
  return largest(max2(most[0], most[1]));
}

}  // namespace

extern const nvfp4::StageKernels kStage = {amaxBits, row, simd::swigluRow<F64>};

}  // namespace megamoe::gemm::avx2
