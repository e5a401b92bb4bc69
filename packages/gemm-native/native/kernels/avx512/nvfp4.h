// What the NVFP4 kernels of this folder share. Everything here is private to the file that includes it.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "../nvfp4/kernels.h"

// For what must see its caller's registers: arrays of them are passed, which a call would put into memory.
#if defined(__GNUC__)
#define MEGAMOE_INLINE inline __attribute__((always_inline))
#else
#define MEGAMOE_INLINE inline
#endif

namespace megamoe::gemm::avx512 {

namespace {

using namespace megamoe::gemm::nvfp4;

// Doubled E2M1 values plus 12 (0 to 24): the unsigned operand of vpdpbusd. Four copies, because vpermb looks at 6 bits
// of an index and a code has 4: whatever the other nibble puts into the upper two bits, the answer is the same, and
// nothing needs masking.
alignas(64) constexpr std::uint8_t kUnsignedCodes[64] = {
    12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0,  //
    12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0,  //
    12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0,  //
    12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0,  //
};

inline __m512i loadCodeTable() { return _mm512_load_si512(kUnsignedCodes); }

inline __m512i load(const std::uint8_t* p) { return _mm512_load_si512(p); }

// How far ahead cold weights are fetched into the second-level cache, from where the processor itself fetches them
// further. Nearer, or into the first level, it is slower: too few loads can be on their way.
constexpr std::int64_t kAhead = 12 * kSuperblockBytes;

inline void prefetchLine(const std::uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

// A superblock.
inline void prefetch(const std::uint8_t* p) {
  for (int i = 0; i < kSuperblockBytes; i += 64) prefetchLine(p + i);
}

// A 4-byte value in all lanes; tiles are read this way.
inline __m512i lanes(const std::uint8_t* p) {
  std::int32_t v;
  std::memcpy(&v, p, 4);
  return _mm512_set1_epi32(v);
}
inline __m512 floatLanes(const std::uint8_t* p) { return _mm512_castsi512_ps(lanes(p)); }

// The same pointer, as far as the compiler knows another one: what is read through it is read again, not kept in
// registers that the accumulators need.
inline const std::uint8_t* reread(const std::uint8_t* p) {
#if defined(__GNUC__)
  __asm__ volatile("" : "+r"(p));  // volatile: two of them are two
#endif
  return p;
}

inline __m512i decodeLow(__m512i codes, __m512i table) { return _mm512_permutexvar_epi8(codes, table); }
inline __m512i decodeHigh(__m512i codes, __m512i table) {
  return _mm512_permutexvar_epi8(_mm512_srli_epi16(codes, 4), table);
}

// Scales of block B, from a line of scales, times 2^-120: E4M3's exponent and mantissa moved to float32's places,
// subnormals included.
template <int B>
inline __m512 scales(__m512i line) {
  const __m512i mask = _mm512_set1_epi32(0x07f00000);
  const __m512i moved = B == 0   ? _mm512_slli_epi32(line, 20)
                        : B == 1 ? _mm512_slli_epi32(line, 12)
                        : B == 2 ? _mm512_slli_epi32(line, 4)
                                 : _mm512_srli_epi32(line, 4);
  return _mm512_castsi512_ps(_mm512_and_si512(moved, mask));
}

// The same for a block known at run time.
inline __m512 scalesOf(__m512i line, int block) {
  const __m512i moved = _mm512_rolv_epi32(line, _mm512_set1_epi32((20 - 8 * block) & 31));
  return _mm512_castsi512_ps(_mm512_and_si512(moved, _mm512_set1_epi32(0x07f00000)));
}

// 64 codes of a row as doubled signed values in order, and -12 times the sum of each block in every lane of its 16
// bytes.
struct Row {
  __m512i values, start;
};

inline Row decodeRow(__m256i codes) {
  const __m512i words = _mm512_cvtepu8_epi16(codes);
  const __m512i nibbles = _mm512_and_si512(_mm512_or_si512(words, _mm512_slli_epi16(words, 4)), _mm512_set1_epi8(15));
  const __m128i doubled = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
  const __m512i values = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(doubled), nibbles);
  __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(12), values);
  sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_BADC));
  sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_CDAB));
  return {values, _mm512_sub_epi32(_mm512_setzero_si512(), sum)};
}

// Writes one row of a panel: alpha * (acc * factor * rowFactor), then * rowScale. The factors are powers of two, their
// products exact.
inline void storeRow(const PanelOut& o, std::int64_t row, __m512 left, __m512 right, float factor) {
  const __m512 f = _mm512_set1_ps(o.rowFactor == nullptr ? factor : factor * o.rowFactor[row]);
  __m512 v0 = _mm512_mul_ps(_mm512_loadu_ps(o.alpha), _mm512_mul_ps(left, f));
  __m512 v1 = _mm512_mul_ps(_mm512_loadu_ps(o.alpha + 16), _mm512_mul_ps(right, f));
  if (o.rowScale != nullptr) {
    const __m512 s = _mm512_set1_ps(o.rowScale[row]);
    v0 = _mm512_mul_ps(v0, s);
    v1 = _mm512_mul_ps(v1, s);
  }
  float* out = o.out + row * o.stride;
  const std::uint32_t columns = o.columns == kColumns ? 0xffffffffu : (1u << o.columns) - 1;
  _mm512_mask_storeu_ps(out, static_cast<__mmask16>(columns), v0);
  _mm512_mask_storeu_ps(out + 16, static_cast<__mmask16>(columns >> 16), v1);
}

}  // namespace

}  // namespace megamoe::gemm::avx512
