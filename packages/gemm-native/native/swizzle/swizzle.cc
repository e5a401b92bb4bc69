// A 16-byte piece of a tile is one word (4 columns) of each of the rows r, r+32, r+64 and r+96: loading 16 bytes of those four rows
// and transposing the 4x4 words gives the pieces of row r in four neighbouring tiles. Rows r to r+3 together make whole 64-byte lines,
// which are stored past the caches when the output is larger than they are.
#include "swizzle.h"

#include <megamoe/thread_pool.h>

#include <cstring>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define MEGAMOE_SSE2 1
#endif

namespace megamoe::gemm {

namespace {

constexpr std::int64_t kGroups = 4;      // row groups of 32 in a tile
constexpr std::int64_t kGroupRows = 32;
constexpr std::int64_t kStreamFrom = std::int64_t{24} << 20;  // outputs above this do not fit a last-level cache with their source

#if MEGAMOE_SSE2
struct Lane {
  __m128i v;
};
inline Lane load(const std::uint8_t* p) { return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))}; }
// in[g] holds words c0..c3 of row group g; out[c] gets word c of each group.
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
  if (kStream) _mm_stream_si128(reinterpret_cast<__m128i*>(p), x.v);
  else _mm_storeu_si128(reinterpret_cast<__m128i*>(p), x.v);
}
inline void fence() { _mm_sfence(); }
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
  for (int c = 0; c < 4; c++)
    for (int g = 0; g < 4; g++) out[c].v[g] = in[g].v[c];
}
template <bool kStream>
inline void store(std::uint8_t* p, const Lane& x) {
  std::memcpy(p, x.v, sizeof x.v);
}
inline void fence() {}
inline void prefetch(const std::uint8_t*) {}
#endif

// Rows quad .. quad + 3 of each row group, 16 columns wide, to four neighbouring tiles: four whole lines.
template <bool kStream>
inline void quadOfTiles(const std::uint8_t* const from[kGroups], std::int64_t stride, std::uint8_t* out) {
  Lane piece[4][4];  // [row of the quad][tile]
  for (int r = 0; r < 4; r++) {
    Lane in[kGroups];
    for (int g = 0; g < 4; g++) in[g] = load(from[g] + r * stride);
    transpose(in, piece[r]);
  }
  for (int t = 0; t < 4; t++)
    for (int r = 0; r < 4; r++) store<kStream>(out + t * kTileBytes + r * 16, piece[r][t]);
}

// The first `columns` (a multiple of 16) columns of a band of 128 rows that are all there. In cache: row after row, so that few lines
// are in use at a time. Past the caches: tile after tile, so that the output is written in order, with the next band fetched ahead.
template <bool kStream>
void fullColumns(const std::uint8_t* sf, std::int64_t kSf, std::int64_t columns, bool more, std::uint8_t* out) {
  const std::int64_t groupBytes = kGroupRows * kSf, bandBytes = kTileRows * kSf;
  const auto lines = [&](std::int64_t quad, std::int64_t c) {
    const std::uint8_t* row = sf + quad * kSf + c;
    const std::uint8_t* const from[kGroups] = {row, row + groupBytes, row + 2 * groupBytes, row + 3 * groupBytes};
    quadOfTiles<kStream>(from, kSf, out + c / kTileColumns * kTileBytes + quad * 16);
  };
  if (!kStream) {
    for (std::int64_t quad = 0; quad < kGroupRows; quad += 4)
      for (std::int64_t c = 0; c < columns; c += 16) lines(quad, c);
    return;
  }
  const std::int64_t share = columns == 0 ? 0 : bandBytes / (columns / 16);  // of the next band, with each 16 columns of this one
  for (std::int64_t c = 0; c < columns; c += 16) {
    if (more)
      for (std::int64_t p = 0; p < share; p += 64) prefetch(sf + bandBytes + c / 16 * share + p);
    for (std::int64_t quad = 0; quad < kGroupRows; quad += 4) lines(quad, c);
  }
}

// Columns [c, kSf) of a band of which `valid` rows are there: word by word, padding with zeros.
void paddedColumns(const std::uint8_t* sf, std::int64_t valid, std::int64_t kSf, std::int64_t c, std::uint8_t* out) {
  for (; c < kSf; c += kTileColumns) {
    const std::size_t width = static_cast<std::size_t>(kSf - c < kTileColumns ? kSf - c : kTileColumns);
    std::uint8_t* tile = out + c / kTileColumns * kTileBytes;
    std::memset(tile, 0, kTileBytes);
    for (std::int64_t row = 0; row < valid; row++)
      std::memcpy(tile + row % kGroupRows * 16 + row / kGroupRows * 4, sf + row * kSf + c, width);
  }
}

template <bool kStream>
void band(const std::uint8_t* sf, std::int64_t valid, std::int64_t kSf, bool more, std::uint8_t* out) {
  const std::int64_t columns = valid == kTileRows ? kSf / 16 * 16 : 0;
  fullColumns<kStream>(sf, kSf, columns, more, out);
  paddedColumns(sf, valid, kSf, columns, out);
}

}  // namespace

void swizzle128x4(const std::uint8_t* sf, std::int64_t rows, std::int64_t kSf, std::uint8_t* out, int threads) {
  if (rows == 0 || kSf == 0) return;
  const std::int64_t bands = (rows + kTileRows - 1) / kTileRows, bandBytes = swizzledBytes(kTileRows, kSf);
  const bool stream = bands * bandBytes >= kStreamFrom && reinterpret_cast<std::uintptr_t>(out) % 16 == 0;
  const std::int64_t grain = (std::int64_t{128} << 10) / bandBytes + 1;  // a thread is worth 128 KiB
  parallelFor(bands, threads, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; b++) {
      const std::int64_t valid = rows - b * kTileRows < kTileRows ? rows - b * kTileRows : kTileRows;
      const std::uint8_t* from = sf + b * kTileRows * kSf;
      const bool more = rows >= (b + 2) * kTileRows;  // another whole band to fetch ahead
      if (stream) band<true>(from, valid, kSf, more, out + b * bandBytes);
      else band<false>(from, valid, kSf, more, out + b * bandBytes);
    }
    if (stream) fence();
  });
}

}  // namespace megamoe::gemm
