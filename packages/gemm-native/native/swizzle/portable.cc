// 16 columns at a time: with SSE2, which every x86-64 has, or in plain C++.
#include "bands.h"

#include <cstring>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define MEGAMOE_SSE2 1
#endif

namespace megamoe::gemm {

namespace {

#if defined(MEGAMOE_SSE2)
struct Lane {
  __m128i v;
};
inline Lane load(const std::uint8_t* p) { return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))}; }
// in[g] holds words w0..w3 of row group g; out[w] gets word w of each group.
inline void transpose(const Lane in[4], Lane out[4]) {
  const __m128i a = _mm_unpacklo_epi32(in[0].v, in[1].v), b = _mm_unpacklo_epi32(in[2].v, in[3].v);
  const __m128i c = _mm_unpackhi_epi32(in[0].v, in[1].v), d = _mm_unpackhi_epi32(in[2].v, in[3].v);
  out[0].v = _mm_unpacklo_epi64(a, b);
  out[1].v = _mm_unpackhi_epi64(a, b);
  out[2].v = _mm_unpacklo_epi64(c, d);
  out[3].v = _mm_unpackhi_epi64(c, d);
}
template <bool kStream>
inline void store(std::uint8_t* p, const Lane& x) {
  if (kStream)
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), x.v);
  else
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), x.v);
}
inline void prefetch(const std::uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
#else
struct Lane {
  std::uint32_t v[4];
};
inline Lane load(const std::uint8_t* p) {
  Lane x;
  std::memcpy(x.v, p, sizeof x.v);
  return x;
}
inline void transpose(const Lane in[4], Lane out[4]) {
  for (int w = 0; w < 4; w++)
    for (int g = 0; g < 4; g++) out[w].v[g] = in[g].v[w];
}
template <bool kStream>
inline void store(std::uint8_t* p, const Lane& x) {
  std::memcpy(p, x.v, sizeof x.v);
}
inline void prefetch(const std::uint8_t*) {}
#endif

struct Quarters {
  static constexpr std::int64_t kColumns = 16;

  static void fetch(const std::uint8_t* p) { prefetch(p); }

  template <bool kStream>
  static void line(const std::uint8_t* from, std::uint8_t* to) {
    for (int i = 0; i < 4; i++) store<kStream>(to + i * 16, load(from + i * 16));
  }

  // Line t of tile t, `next` bytes apart: four rows of each row group, of 16 columns.
  template <bool kStream>
  static void quad(const std::uint8_t* const rows[4], std::int64_t stride, std::uint8_t* out, std::int64_t next) {
    Lane piece[4][4];  // [row][tile]
    for (int r = 0; r < 4; r++) {
      Lane in[4];
      for (int g = 0; g < 4; g++) in[g] = load(rows[r] + g * kGroupRows * stride);
      transpose(in, piece[r]);
    }
    for (int t = 0; t < 4; t++)
      for (int r = 0; r < 4; r++) store<kStream>(out + t * next + r * 16, piece[r][t]);
  }
};

}  // namespace

extern const BandKernel kPortableBands = bandKernel<Quarters>("portable");

}  // namespace megamoe::gemm
