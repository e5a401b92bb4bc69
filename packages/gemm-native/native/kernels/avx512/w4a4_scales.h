// Products of two block scales as BF16, found by looking up instead of multiplying: multiplications run where vpdpbusd
// does, shuffles and additions mostly elsewhere, and one lookup serves both halves of a panel.
//
// A scale is 2^e * (1 + m/8), subnormals normalized. The product of two has at most 8 significant bits, so BF16 holds
// it exactly: its mantissa depends on the two m alone, its exponent is the sum of the two e, and one more where the
// mantissas' product passes 2. Of the columns of a panel, word 2c belongs to column c, word 2c + 1 to column 16 + c.
//
// A zero scale gives an arbitrary finite number. It does no harm, because its codes are zeros too (weight.h; packTile
// for rows), and zero times a number is zero.
//
// Private to the file that includes it.
#pragma once

#include "nvfp4.h"

namespace megamoe::gemm::avx512 {

namespace {

// e * 128 in the upper 9 bits (e = 0 stands for 2^-7), m * 16 below.
inline __m512i normalized(__m512i bytesInWords) {
  alignas(64) static constexpr std::uint16_t kSubnormal[32] = {
      0, 0xff00, 0xff80, 0xff80 + 64, 0, 32, 64, 96,  // 0, 1 to 7 times 2^-9
  };
  const __mmask32 small = _mm512_cmplt_epu16_mask(bytesInWords, _mm512_set1_epi16(8));
  return _mm512_mask_permutexvar_epi16(_mm512_slli_epi16(bytesInWords, 4), small, bytesInWords,
                                       _mm512_load_si512(kSubnormal));
}

// Row m: products with 1 + m/8, by the other scale's m; four copies, because vpermw looks at 5 bits. m * 8 is
// subtracted: a row's word carries it (see rowWord), and to add the word is to add its exponent alone.
struct Products {
  alignas(64) std::uint16_t of[8][32];

  constexpr Products() : of{} {
    for (int m = 0; m < 8; m++)
      for (int i = 0; i < 32; i++) {
        const int p = (8 + m) * (8 + i % 8);
        of[m][i] = static_cast<std::uint16_t>(((127 - 7) << 7) + (p < 128 ? (p - 64) * 2 : p) - m * 8);
      }
  }
};
alignas(64) constexpr Products kProducts{};

// The scales of block b of a panel's 32 columns.
struct ColumnScales {
  __m512i mantissas, exponents;
};

// `lines`: the two lines of scales; b bytes further lies block b's scale in the low byte of each lane.
inline ColumnScales columnScales(const std::uint8_t* lines, std::int64_t b) {
  const __m512i left = _mm512_loadu_si512(lines + b), right = _mm512_slli_epi32(_mm512_loadu_si512(lines + 64 + b), 16);
  const __m512i bytes = _mm512_and_si512(_mm512_mask_mov_epi16(left, 0xaaaaaaaau, right), _mm512_set1_epi16(0x7f));
  const __m512i s = normalized(bytes);
  return {_mm512_srli_epi16(s, 4), _mm512_and_si512(s, _mm512_set1_epi16(static_cast<std::int16_t>(0xff80)))};
}

// Products of the columns' scales with one of mantissa m, but for its exponent.
inline __m512i byMantissa(const ColumnScales& c, __m512i productsOfM) {
  return _mm512_add_epi16(_mm512_permutexvar_epi16(c.mantissas, productsOfM), c.exponents);
}

// The two halves of the panel in float32.
inline __m512 leftHalf(__m512i products) { return _mm512_castsi512_ps(_mm512_slli_epi32(products, 16)); }
inline __m512 rightHalf(__m512i products) { return _mm512_castsi512_ps(_mm512_maskz_mov_epi16(0xaaaaaaaau, products)); }

// A row's scale as a packed row holds it, twice in four bytes: e * 128 + m * 8; 0 for a zero.
inline __m128i rowWords(__m128i bytes) {  // of four scales
  const __m512i wide = _mm512_castsi128_si512(_mm_cvtepu8_epi16(bytes));
  const __m128i s = _mm512_castsi512_si128(normalized(wide));
  const __m128i exponents =
      _mm_sub_epi16(_mm_and_si128(s, _mm_set1_epi16(static_cast<std::int16_t>(0xff80))), _mm_set1_epi16(7 << 7));
  const __m128i words = _mm_or_si128(exponents, _mm_srli_epi16(_mm_and_si128(s, _mm_set1_epi16(0x70)), 1));
  const __m128i kept = _mm_maskz_mov_epi16(_mm_test_epi16_mask(_mm_cvtepu8_epi16(bytes), _mm_set1_epi16(-1)), words);
  return _mm_unpacklo_epi16(kept, kept);
}

// Where, in a table of 64 bytes for each m, the m of a row's word is.
inline std::int64_t tableOffset(const std::uint8_t* rowWord) { return (*rowWord & 0x38) * 8; }

}  // namespace

}  // namespace megamoe::gemm::avx512
