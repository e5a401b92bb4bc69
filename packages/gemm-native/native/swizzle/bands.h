// The inner loops of the swizzle, one for each width of vector. Free of inline functions of the standard library:
// avx512.cc is compiled with wide instructions, which must not leak into functions that the linker shares.
#pragma once

#include <cstdint>
#include <cstring>

namespace megamoe::gemm {

constexpr std::int64_t kTileRows = 128;
constexpr std::int64_t kTileColumns = 4;
constexpr std::int64_t kTileBytes = kTileRows * kTileColumns;
constexpr std::int64_t kGroupRows = 32;   // a tile has four row groups
constexpr std::int64_t kPieceBytes = 16;  // a row of a group: one word of each of the four groups
constexpr std::int64_t kLineBytes = 64;

// A band of 128 rows that are all there, and the tiles it becomes.
struct Band {
  const std::uint8_t* sf;  // [128, kSf]
  std::int64_t kSf;
  const std::uint8_t* ahead;  // the band after it, to be fetched on the way; null when there is none
  std::uint8_t* out;          // tiles of the band: [ceil(kSf/4), 512]
  std::int64_t shift;         // pieces of `out` before its first whole cache line: 0 to 3. Typed arrays begin anywhere
};

struct BandKernel {
  const char* isa;
  std::int64_t columns;  // works on multiples of so many columns
  // Columns [c0, c1) of a band, both multiples of `columns`. Stored through the caches, or past them, where out + 16 *
  // shift must be aligned to 64.
  void (*cached)(const Band& band, std::int64_t c0, std::int64_t c1);
  void (*streamed)(const Band& band, std::int64_t c0, std::int64_t c1);
};

extern const BandKernel kPortableBands;
#if defined(MEGAMOE_SWIZZLE_X86)
extern const BandKernel kAvx512Bands;
#endif

namespace {

// The last `V::kColumns` columns of a band, for the lines that reach over into the next tile: that of the last tile is
// not ours.
template <class V, bool kStream>
[[maybe_unused]] void lastLines(const std::uint8_t* const rows[4], std::int64_t stride, std::int64_t shift,
                                std::uint8_t* out) {
  constexpr std::int64_t kTiles = V::kColumns / kTileColumns;
  alignas(64) std::uint8_t lines[kTiles * kLineBytes];
  V::template quad<false>(rows, stride, lines, kLineBytes);
  for (std::int64_t t = 0; t + 1 < kTiles; t++) V::template line<kStream>(lines + t * kLineBytes, out + t * kTileBytes);
  std::memcpy(out + (kTiles - 1) * kTileBytes, lines + (kTiles - 1) * kLineBytes,
              static_cast<std::size_t>((4 - shift) * kPieceBytes));
}

// Four rows of each row group, V::kColumns columns, from `row` and `c` on: a line of every tile. It is a whole cache
// line when row = shift modulo 4. The last four go over the edge: their rows past 31 are the first ones of the next
// tile.
template <class V, bool kStream>
[[maybe_unused]] void bandQuad(const Band& b, std::int64_t row0, std::int64_t c, std::int64_t c1) {
  const std::int64_t stride = b.kSf;
  const std::uint8_t* rows[4];
  for (std::int64_t r = 0; r < 4; r++) {
    const std::int64_t row = row0 + r, next = row < kGroupRows ? 0 : 1;
    rows[r] = b.sf + (row - next * kGroupRows) * stride + c + next * kTileColumns;
  }
  std::uint8_t* out = b.out + c / kTileColumns * kTileBytes + row0 * kPieceBytes;
  const bool over = row0 + 4 > kGroupRows;
  if (over && c + V::kColumns == c1)
    lastLines<V, kStream>(rows, stride, b.shift, out);
  else
    V::template quad<kStream>(rows, stride, out, kTileBytes);
}

// The two orders take the band by value: a store of bytes might change what a reference points to, so that it would be
// read again.

// Four rows by four rows along the whole width, so that the source is read row by row. Past the caches, the next band
// is fetched in order, as much as is read; in cache, fetching ahead made it slower.
template <class V, bool kStream>
[[maybe_unused]] void orderedQuads(const Band b, std::int64_t c0, std::int64_t c1) {
  const std::uint8_t* ahead = b.ahead;
  for (std::int64_t row0 = b.shift; row0 < kGroupRows + b.shift; row0 += 4)
    for (std::int64_t c = c0; c < c1; c += V::kColumns) {
      if (kStream && ahead != nullptr) {
        for (std::int64_t p = 0; p < 16 * V::kColumns; p += kLineBytes) V::fetch(ahead + p);
        ahead += 16 * V::kColumns;
      }
      bandQuad<V, kStream>(b, row0, c, c1);
    }
}

// In cache: the 32 quads of 4 * V::kColumns columns by triangular numbers, which modulo 32 are each number once, with a
// step that is never the same. In a regular order the processor learns the strides of the reads and writes of whole
// lines, and fetches between the caches what is fetched anyway or not at all. That is what limits the speed: a third
// was lost.
template <class V>
[[maybe_unused]] void scatteredQuads(const Band b, std::int64_t c0, std::int64_t c1) {
  constexpr std::int64_t kRowQuads = kGroupRows / 4, kColumnQuads = 4, kQuads = kRowQuads * kColumnQuads;
  for (; c0 < c1; c0 += kColumnQuads * V::kColumns) {
    std::int64_t at = 0;
    for (std::int64_t i = 0; i < kQuads; i++) {
      at = (at + i) % kQuads;
      const std::int64_t c = c0 + at / kRowQuads * V::kColumns;
      if (c < c1) bandQuad<V, false>(b, b.shift + at % kRowQuads * 4, c, c1);
    }
  }
}

template <class V, bool kStream>
[[maybe_unused]] void bandColumns(const Band& b, std::int64_t c0, std::int64_t c1) {
  if constexpr (!kStream && V::kColumns == kLineBytes)
    scatteredQuads<V>(b, c0, c1);
  else
    orderedQuads<V, kStream>(b, c0, c1);
  for (std::int64_t row = 0; row < b.shift; row++)  // of the first tile: nothing reaches over into it
    for (std::int64_t g = 0; g < 4; g++)
      std::memcpy(b.out + c0 / kTileColumns * kTileBytes + row * kPieceBytes + g * 4,
                  b.sf + (g * kGroupRows + row) * b.kSf + c0, 4);
}

template <class V>
constexpr BandKernel bandKernel(const char* isa) {
  BandKernel kernel = {};
  kernel.isa = isa;
  kernel.columns = V::kColumns;
  kernel.cached = bandColumns<V, false>;
  kernel.streamed = bandColumns<V, true>;
  return kernel;
}

}  // namespace

}  // namespace megamoe::gemm
