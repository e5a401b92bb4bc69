// Vectors for the templates in ../simd that multiply BF16 pairs: vdpbf16ps.
#pragma once

#include "../nvfp4/bf16_rule.h"
#include "../weight.h"
#include "lanes.h"

namespace megamoe::gemm::avx512 {
namespace {

// The upper or the lower bytes of the BF16 values of the 128 magnitudes of FP8, by packFp8's code.
struct Fp8Bytes {
  alignas(64) std::uint8_t upper[128], lower[128];

  constexpr Fp8Bytes() : upper(), lower() {
    for (int code = 0; code < 128; code++) {
      const int e4m3 = unpackFp8(static_cast<std::uint8_t>(code)), e = e4m3 >> 3, m = e4m3 & 7;
      int bits = (e + 120) << 7 | m << 4;
      if (e == 0) {  // m * 2^-9
        const int top = m >= 4 ? 2 : m >= 2 ? 1 : 0;
        bits = m == 0 ? 0 : (127 - 9 + top) << 7 | (m << (7 - top) & 0x7f);
      }
      upper[code] = static_cast<std::uint8_t>(bits >> 8), lower[code] = static_cast<std::uint8_t>(bits & 0xff);
    }
  }
};
constexpr Fp8Bytes kFp8Bytes;

struct Pairs : F32 {
  static constexpr bool kPairs = true;

  static Reg addPairs(Reg x, Bits w, Reg sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(_mm512_castps_si512(x)));
  }
  // Has the value in a register: the compiler would read it again from the first-level cache for every use, and there
  // are more uses than that cache has reads.
  template <class R>
  static void keep(R& value) {
#if defined(__GNUC__)
    __asm__ volatile("" : "+v"(value));
#endif
  }
  static void storeBits(std::uint16_t* p, Bits b) { _mm512_store_si512(p, b); }

  // activationBf16 of 32 values in their order.
  static Reg pairs(Reg first, Reg second) {
    const __m512i bits = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
    const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi16(0x7fff));
    const __mmask32 isKept =
        _mm512_cmpge_epi16_mask(magnitude, _mm512_set1_epi16(static_cast<short>(nvfp4::kLeastBf16)));
    return _mm512_castsi512_ps(_mm512_maskz_mov_epi16(isKept, bits));
  }

  // 64 packed codes as two registers: what unpacking puts together, k 0 to 7 and 8 to 15 of every 16.
  static Bits fp8Pairs(Fp8 codes, int part) {
    const __m512i upper =
        _mm512_permutex2var_epi8(_mm512_load_si512(kFp8Bytes.upper), codes, _mm512_load_si512(kFp8Bytes.upper + 64));
    const __m512i lower =
        _mm512_permutex2var_epi8(_mm512_load_si512(kFp8Bytes.lower), codes, _mm512_load_si512(kFp8Bytes.lower + 64));
    // a | (b & c): the sign of the code.
    const __m512i withSign = _mm512_ternarylogic_epi32(upper, codes, _mm512_set1_epi8(static_cast<char>(0x80)), 0xf8);
    return part == 0 ? _mm512_unpacklo_epi8(lower, withSign) : _mm512_unpackhi_epi8(lower, withSign);
  }
  static void orderFp8Pairs(Reg (&v)[4]) {
    const __m512i a = _mm512_castps_si512(pairs(v[0], v[1])), b = _mm512_castps_si512(pairs(v[2], v[3]));
    v[0] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(a, b, 0x88));
    v[1] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(a, b, 0xdd));
  }
};

}  // namespace
}  // namespace megamoe::gemm::avx512
