// 64 columns at a time: whole lines are read and whole lines are written. AVX-512 F is all it needs.
#include "bands.h"

#include <immintrin.h>

namespace megamoe::gemm {

namespace {

struct Lines {
  static constexpr std::int64_t kColumns = 64;

  static void fetch(const std::uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

  template <bool kStream>
  static void store(std::uint8_t* p, __m512i v) {
    if (kStream)
      _mm512_stream_si512(reinterpret_cast<__m512i*>(p), v);
    else
      _mm512_storeu_si512(p, v);
  }

  template <bool kStream>
  static void line(const std::uint8_t* from, std::uint8_t* to) {
    store<kStream>(to, _mm512_load_si512(from));
  }

  // Line t of tile t, `next` bytes apart: four rows of each row group, of 64 columns.
  template <bool kStream>
  static void quad(const std::uint8_t* const rows[4], std::int64_t stride, std::uint8_t* out, std::int64_t next) {
    // piece[r][w]: of row r, in its 128-bit lane l the four row groups' words of tile 4l + w.
    __m512i piece[4][4];
    for (int r = 0; r < 4; r++) {
      const std::uint8_t* row = rows[r];
      const __m512i g0 = _mm512_loadu_si512(row), g1 = _mm512_loadu_si512(row + 32 * stride);
      const __m512i g2 = _mm512_loadu_si512(row + 64 * stride), g3 = _mm512_loadu_si512(row + 96 * stride);
      const __m512i a = _mm512_unpacklo_epi32(g0, g1), b = _mm512_unpackhi_epi32(g0, g1);
      const __m512i c = _mm512_unpacklo_epi32(g2, g3), d = _mm512_unpackhi_epi32(g2, g3);
      piece[r][0] = _mm512_unpacklo_epi64(a, c);
      piece[r][1] = _mm512_unpackhi_epi64(a, c);
      piece[r][2] = _mm512_unpacklo_epi64(b, d);
      piece[r][3] = _mm512_unpackhi_epi64(b, d);
    }
    for (int w = 0; w < 4; w++) {  // the same lane of the four rows together is a line
      const __m512i a = _mm512_shuffle_i32x4(piece[0][w], piece[1][w], 0x44),
                    b = _mm512_shuffle_i32x4(piece[0][w], piece[1][w], 0xee);
      const __m512i c = _mm512_shuffle_i32x4(piece[2][w], piece[3][w], 0x44),
                    d = _mm512_shuffle_i32x4(piece[2][w], piece[3][w], 0xee);
      store<kStream>(out + (0 + w) * next, _mm512_shuffle_i32x4(a, c, 0x88));
      store<kStream>(out + (4 + w) * next, _mm512_shuffle_i32x4(a, c, 0xdd));
      store<kStream>(out + (8 + w) * next, _mm512_shuffle_i32x4(b, d, 0x88));
      store<kStream>(out + (12 + w) * next, _mm512_shuffle_i32x4(b, d, 0xdd));
    }
  }
};

}  // namespace

extern const BandKernel kAvx512Bands = bandKernel<Lines>("avx512");

}  // namespace megamoe::gemm
