// W4A4: integer dot products of 16 codes by vpdpbusd, times the two block scales, added to float32 accumulators in
// ascending k. Each product is exact (12 + 4 + 4 bits), so the fused multiply-add rounds once, where docs/numerics.md
// N4 rounds.
//
// A packed row holds, for each block, 16 doubled codes, -12 times their sum (which starts the accumulator and so takes
// back the 12 of the unsigned weights), and its scale in the form of w4a4_scales.h.
#include "w4a4.h"

#include "avx512.h"
#include "w4a4_scales.h"

namespace megamoe::gemm::avx512 {

namespace {

constexpr std::int64_t kCodes = 128;  // where the codes of a superblock begin

// Few rows. Weights are decoded once for a tile, and fetched far ahead when they are cold.
template <int Rows, bool IsCold>
void tileOf(const PanelJob& job, const std::uint8_t* tile, std::int64_t row) {
  const __m512i table = loadCodeTable();
  __m512 acc[Rows][2];
  for (int r = 0; r < Rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  const std::uint8_t* w = job.panel;
  for (std::int64_t sb = 0; sb < job.superblocks; sb++, w += kSuperblockBytes) {
#pragma GCC unroll 1
    for (int b = 0; b < kBlocks; b++, tile += Rows * kW4A4BlockBytes) {
      const std::uint8_t* c = w + kCodes + b * 256;
      const __m512i c0 = load(c), c1 = load(c + 64), c2 = load(c + 128), c3 = load(c + 192);
      const __m512i left[4] = {decodeLow(c0, table), decodeHigh(c0, table), decodeLow(c1, table),
                               decodeHigh(c1, table)};
      const __m512i right[4] = {decodeLow(c2, table), decodeHigh(c2, table), decodeLow(c3, table),
                                decodeHigh(c3, table)};
      const ColumnScales scales = columnScales(w, b);
      if (IsCold) {  // spread, not in one burst
        for (int i = 0; i < 4; i++) prefetchLine(w + kAhead + b * 256 + i * 64);
        if (b < 2) prefetchLine(w + kAhead + 1024 + b * 64);
      }
#pragma GCC unroll 8
      for (int r = 0; r < Rows; r++) {
        __m512i d0 = lanes(tile + Rows * 16 + r * 4), d1 = d0;
#pragma GCC unroll 4
        for (int g = 0; g < 4; g++) {
          const __m512i a = lanes(tile + r * 16 + g * 4);
          d0 = _mm512_dpbusd_epi32(d0, left[g], a);
          d1 = _mm512_dpbusd_epi32(d1, right[g], a);
        }
        const std::uint8_t* word = tile + Rows * 20 + r * 4;
        const __m512i products = load(reinterpret_cast<const std::uint8_t*>(kProducts.of) + tableOffset(word));
        const __m512i s = _mm512_add_epi16(byMantissa(scales, products), lanes(word));
        acc[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d0), leftHalf(s), acc[r][0]);
        acc[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d1), rightHalf(s), acc[r][1]);
      }
    }
  }
  for (int r = 0; r < Rows; r++) storeRow(job.out, row + r, acc[r][0], acc[r][1], kW4A4Undo);
}

using Tile = void (*)(const PanelJob&, const std::uint8_t* tile, std::int64_t row);

// By rows of a tile, 1 to 8: the first tile of a panel finds its weights in memory, later ones in the cache.
constexpr Tile kFirst[kTileRows] = {tileOf<1, true>, tileOf<2, true>, tileOf<3, true>, tileOf<4, true>,
                                    tileOf<5, true>, tileOf<6, true>, tileOf<7, true>, tileOf<8, true>};
constexpr Tile kLater[kTileRows] = {tileOf<1, false>, tileOf<2, false>, tileOf<3, false>, tileOf<4, false>,
                                    tileOf<5, false>, tileOf<6, false>, tileOf<7, false>, tileOf<8, false>};

void packTile(const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t rows, std::int64_t,
              std::uint8_t* tile) {
  const std::int64_t kSf = k / 16, blockBytes = rows * kW4A4BlockBytes;
  for (std::int64_t r = 0; r < rows; r++, codes += k / 2, sf += kSf) {
    for (std::int64_t b = 0; b < kSf; b += kBlocks) {
      // A superblock that is not full has only so many codes behind it; the rest are zeros.
      const int blocks = kSf - b < kBlocks ? static_cast<int>(kSf - b) : static_cast<int>(kBlocks);
      const __m128i scales = _mm_maskz_loadu_epi8(static_cast<__mmask16>((1 << blocks) - 1), sf + b);
      // Eight bytes of codes for each scale that is not zero.
      const std::uint32_t zero = _mm_testn_epi8_mask(scales, scales);
      std::uint32_t valid = 0;
      for (int i = 0; i < kBlocks; i++) valid |= (zero >> i) & 1 ? 0u : 0xffu << (8 * i);
      const Row row = decodeRow(_mm256_maskz_loadu_epi8(valid, codes + b * 8));
      alignas(16) std::uint32_t words[4];
      _mm_store_si128(reinterpret_cast<__m128i*>(words), rowWords(scales));
      alignas(64) std::int32_t start[16];
      _mm512_store_si512(start, row.start);
      const __m128i lane[4] = {_mm512_castsi512_si128(row.values), _mm512_extracti32x4_epi32(row.values, 1),
                               _mm512_extracti32x4_epi32(row.values, 2), _mm512_extracti32x4_epi32(row.values, 3)};
      std::uint8_t* out = tile + b * blockBytes;
      for (int i = 0; i < kBlocks; i++, out += blockBytes) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + r * 16), lane[i]);
        std::memcpy(out + rows * 16 + r * 4, &start[i * 4], 4);
        std::memcpy(out + rows * 20 + r * 4, &words[i], 4);
      }
    }
  }
}

void panel(const PanelJob& job) {
  if (job.rows >= kTableRows) return tablePanel(job);
  const std::int64_t tiles = tileCount(job.rows);
  for (std::int64_t i = 0; i < tiles; i++) {
    const std::int64_t begin = tileStart(job.rows, tiles, i), rows = tileStart(job.rows, tiles, i + 1) - begin;
    (i == 0 ? kFirst : kLater)[rows - 1](job, job.tiles + begin * kW4A4RowBytes * job.superblocks, begin);
  }
}

std::int64_t scratch(std::int64_t rows, std::int64_t) { return rows >= kTableRows ? tableScratch(rows) : 0; }

}  // namespace

extern const W4A4Kernels kW4A4 = {kW4A4RowBytes, scratch, packTile, panel};

}  // namespace megamoe::gemm::avx512
