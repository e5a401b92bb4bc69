// Activation staging with AVX2: 8 lanes.
#include <megamoe/lanes/avx2.h>

#include "../simd/rows.h"
#include "../simd/stage.h"
#include "avx2.h"
#include "lanes.h"

namespace megamoe::gemm::avx2 {

namespace {

struct StageLanes : megamoe::avx2::FloatLanes {
  using Ints = __m256i;
  struct Mask {
    __m256 lanes;
  };

  static Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static Ints bits(Reg v) { return _mm256_castps_si256(v); }
  static Reg floats(Ints v) { return _mm256_castsi256_ps(v); }
  static Ints nearest(Reg v) { return _mm256_cvtps_epi32(v); }

  static Ints splatInts(int v) { return _mm256_set1_epi32(v); }
  static Ints both(Ints a, Ints b) { return _mm256_and_si256(a, b); }
  static Ints plus(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  static Ints minus(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
  static Ints larger(Ints a, Ints b) { return _mm256_max_epi32(a, b); }
  template <int n>
  static Ints shiftRight(Ints v) {
    return _mm256_srli_epi32(v, n);
  }
  template <int n>
  static Ints shiftLeft(Ints v) {
    return _mm256_slli_epi32(v, n);
  }

  static Mask below(Reg a, Reg b) { return {_mm256_cmp_ps(a, b, _CMP_LT_OQ)}; }
  static Mask equal(Reg a, Reg b) { return {_mm256_cmp_ps(a, b, _CMP_EQ_OQ)}; }
  static Reg choose(Mask m, Reg a, Reg b) { return _mm256_blendv_ps(b, a, m.lanes); }
  static Ints choose(Mask m, Ints a, Ints b) { return _mm256_blendv_epi8(b, a, bits(m.lanes)); }
  static Ints withBits(Ints v, Mask m, int wanted) {
    return _mm256_or_si256(v, both(bits(m.lanes), _mm256_set1_epi32(wanted)));
  }

  static std::uint32_t largest(Ints v) {
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(m));
  }
  static void prefetch(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

  static Ints blockMaxima(const float* x, int blocks) {
    Ints half[2];
    for (int i = 0; i < 2; i++) {
      Ints v[4];
      for (int j = 0; j < 4; j++) v[j] = 4 * i + j < blocks ? blockMagnitudes(x + (4 * i + j) * 16) : splatInts(0);
      const Ints a = larger(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
      const Ints b = larger(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
      // Lane j of each 128 bits: block 4i + j.
      half[i] = larger(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    }
    return larger(_mm256_permute2x128_si256(half[0], half[1], 0x20), _mm256_permute2x128_si256(half[0], half[1], 0x31));
  }

  static void storeBytes(std::uint8_t* to, int n, Ints v) {
    alignas(32) std::int32_t bytes[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(bytes), v);
    for (int i = 0; i < n; i++) to[i] = static_cast<std::uint8_t>(bytes[i]);
  }

  static void storeCodes(std::uint8_t* to, const Ints (&code)[4]) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed(code));
  }
  static void storeFirstCodes(std::uint8_t* to, int, const Ints (&code)[4]) {  // one block: 8 bytes
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), packed(code));
  }

 private:
  static Ints blockMagnitudes(const float* x) {
    return larger(simd::magnitude<StageLanes>(load(x)), simd::magnitude<StageLanes>(load(x + 8)));
  }

  // Codes of two blocks as 16 bytes, the even element in the low nibble.
  static __m128i packed(const Ints (&code)[4]) {
    const Ints bytes =
        _mm256_packus_epi16(_mm256_packus_epi32(code[0], code[1]), _mm256_packus_epi32(code[2], code[3]));
    const Ints ordered = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    const Ints pairs = _mm256_maddubs_epi16(ordered, _mm256_set1_epi16(0x1001));
    return _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  }
};

}  // namespace

extern const nvfp4::StageKernels kStage = {simd::amaxBits<StageLanes>, simd::stageRow<StageLanes>,
                                           simd::swigluRow<F64>};

}  // namespace megamoe::gemm::avx2
