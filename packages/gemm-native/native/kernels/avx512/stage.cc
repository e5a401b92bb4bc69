// Activation staging with AVX-512: 16 lanes.
#include <megamoe/lanes/avx512.h>

#include "../simd/rows.h"
#include "../simd/stage.h"
#include "avx512.h"
#include "lanes.h"

namespace megamoe::gemm::avx512 {

namespace {

struct StageLanes : megamoe::avx512::FloatLanes {
  using Ints = __m512i;
  using Mask = __mmask16;

  static Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Ints bits(Reg v) { return _mm512_castps_si512(v); }
  static Reg floats(Ints v) { return _mm512_castsi512_ps(v); }
  static Ints nearest(Reg v) { return _mm512_cvtps_epi32(v); }

  static Ints splatInts(int v) { return _mm512_set1_epi32(v); }
  static Ints both(Ints a, Ints b) { return _mm512_and_si512(a, b); }
  static Ints plus(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Ints minus(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
  static Ints larger(Ints a, Ints b) { return _mm512_max_epi32(a, b); }
  template <int n>
  static Ints shiftRight(Ints v) {
    return _mm512_srli_epi32(v, n);
  }
  template <int n>
  static Ints shiftLeft(Ints v) {
    return _mm512_slli_epi32(v, n);
  }

  static Mask below(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static Mask equal(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static Reg choose(Mask m, Reg a, Reg b) { return _mm512_mask_mov_ps(b, m, a); }
  static Ints choose(Mask m, Ints a, Ints b) { return _mm512_mask_mov_epi32(b, m, a); }
  static Ints withBits(Ints v, Mask m, int bits) { return _mm512_mask_or_epi32(v, m, v, _mm512_set1_epi32(bits)); }

  static std::uint32_t largest(Ints v) { return static_cast<std::uint32_t>(_mm512_reduce_max_epi32(v)); }
  static void prefetch(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

  static Ints blockMaxima(const float* x, int blocks) {
    Ints quarter[4];
    for (int i = 0; i < 4; i++) {
      Ints v[4];
      for (int j = 0; j < 4; j++)
        v[j] = 4 * i + j < blocks ? simd::magnitude<StageLanes>(load(x + (4 * i + j) * 16)) : splatInts(0);
      const Ints a = larger(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
      const Ints b = larger(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
      // Lane j of each 128 bits: block 4i + j.
      quarter[i] = larger(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
    const Ints low =
        larger(_mm512_shuffle_i32x4(quarter[0], quarter[1], 0x88), _mm512_shuffle_i32x4(quarter[0], quarter[1], 0xdd));
    const Ints high =
        larger(_mm512_shuffle_i32x4(quarter[2], quarter[3], 0x88), _mm512_shuffle_i32x4(quarter[2], quarter[3], 0xdd));
    return larger(_mm512_shuffle_i32x4(low, high, 0x88), _mm512_shuffle_i32x4(low, high, 0xdd));
  }

  static void storeBytes(std::uint8_t* to, int n, Ints v) {
    _mm_mask_storeu_epi8(to, static_cast<__mmask16>((1u << n) - 1), _mm512_cvtepi32_epi8(v));
  }

  static void storeCodes(std::uint8_t* to, const Ints (&code)[4]) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), packed(code));
  }
  static void storeFirstCodes(std::uint8_t* to, int bytes, const Ints (&code)[4]) {
    _mm256_mask_storeu_epi8(to, static_cast<__mmask32>((1u << bytes) - 1), packed(code));
  }

 private:
  // Codes of four blocks as 32 bytes, the even element in the low nibble.
  static __m256i packed(const Ints (&code)[4]) {
    const Ints words =
        _mm512_packus_epi16(_mm512_packus_epi32(code[0], code[1]), _mm512_packus_epi32(code[2], code[3]));
    const Ints order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const Ints ordered = _mm512_permutexvar_epi32(order, words);
    return _mm512_cvtepi16_epi8(_mm512_maddubs_epi16(ordered, _mm512_set1_epi16(0x1001)));
  }
};

}  // namespace

extern const nvfp4::StageKernels kStage = {simd::amaxBits<StageLanes>, simd::stageRow<StageLanes>,
                                           simd::swigluRow<F64>};

}  // namespace megamoe::gemm::avx512
