// W4A4 for many rows: what all rows share is computed once, the decoded codes of a block and the products of its scales with each of a
// row's eight possible mantissas. Only a row's exponent is left to add.
//
// Weights are prepared for as many superblocks at a time as stay in the first-level cache while all rows pass; the accumulators wait
// in scratch meanwhile. Every term is the same number as in w4a4.cc, so the bits are the same.
#include "w4a4.h"
#include "w4a4_scales.h"

namespace megamoe::gemm::avx512 {

namespace {

constexpr std::int64_t kDepth = 6;                 // superblocks that are prepared together: 24 KiB
constexpr std::int64_t kCodeBytes = 512;           // decoded codes of a block: [half][step][lane][4]
constexpr std::int64_t kTableBytes = 8 * 64;       // [mantissa][column] in BF16
constexpr std::int64_t kBlockBytes = kCodeBytes + kTableBytes;
constexpr std::int64_t kPrepared = kDepth * kBlocks * kBlockBytes;

void prepare(const std::uint8_t* w, std::int64_t superblocks, std::uint8_t* out) {
  const __m512i code = loadCodeTable();
  for (std::int64_t sb = 0; sb < superblocks; sb++, w += kSuperblockBytes) {
    for (int b = 0; b < kBlocks; b++, out += kBlockBytes) {
      for (int i = 0; i < 4; i++) {
        const __m512i c = load(w + 128 + b * 256 + i * 64);
        _mm512_store_si512(out + i * 128, decodeLow(c, code));
        _mm512_store_si512(out + i * 128 + 64, decodeHigh(c, code));
      }
      const ColumnScales scales = columnScales(w, b);
      for (int m = 0; m < 8; m++) _mm512_store_si512(out + kCodeBytes + m * 64, byMantissa(scales, _mm512_load_si512(kProducts.of[m])));
    }
  }
}

// acc [Rows][32] += the products of `blocks` prepared blocks.
template <int Rows>
void tile(const std::uint8_t* w, std::int64_t blocks, const std::uint8_t* a, float* sums) {
  __m512 acc[Rows][2];
  for (int r = 0; r < Rows; r++) {
    acc[r][0] = _mm512_load_ps(sums + r * kColumns);
    acc[r][1] = _mm512_load_ps(sums + r * kColumns + 16);
  }
#pragma GCC unroll 1
  for (std::int64_t b = 0; b < blocks; b++, w += kBlockBytes, a += Rows * kW4A4BlockBytes) {
    __m512i left[4], right[4];
    for (int g = 0; g < 4; g++) {
      left[g] = load(w + g * 64);
      right[g] = load(w + 256 + g * 64);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      __m512i d0 = lanes(a + Rows * 16 + r * 4), d1 = d0;
#pragma GCC unroll 4
      for (int g = 0; g < 4; g++) {
        const __m512i v = lanes(a + r * 16 + g * 4);
        d0 = _mm512_dpbusd_epi32(d0, left[g], v);
        d1 = _mm512_dpbusd_epi32(d1, right[g], v);
      }
      const std::uint8_t* word = a + Rows * 20 + r * 4;
      const __m512i s = _mm512_add_epi16(lanes(word), load(w + kCodeBytes + tableOffset(word)));
      acc[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d0), leftHalf(s), acc[r][0]);
      acc[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d1), rightHalf(s), acc[r][1]);
    }
  }
  for (int r = 0; r < Rows; r++) {
    _mm512_store_ps(sums + r * kColumns, acc[r][0]);
    _mm512_store_ps(sums + r * kColumns + 16, acc[r][1]);
  }
}

using Tile = void (*)(const std::uint8_t*, std::int64_t, const std::uint8_t*, float*);
constexpr Tile kTile[kTileRows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>};

}  // namespace

std::int64_t tableScratch(std::int64_t rows) { return kPrepared + rows * kColumns * 4; }

void tablePanel(const PanelJob& job) {
  std::uint8_t* prepared = static_cast<std::uint8_t*>(job.scratch);
  float* sums = reinterpret_cast<float*>(prepared + kPrepared);
  for (std::int64_t i = 0; i < job.rows * kColumns; i += 16) _mm512_store_ps(sums + i, _mm512_setzero_ps());
  const std::int64_t tiles = tileCount(job.rows);
  for (std::int64_t sb = 0; sb < job.superblocks; sb += kDepth) {
    const std::int64_t depth = job.superblocks - sb < kDepth ? job.superblocks - sb : kDepth;
    prepare(job.panel + sb * kSuperblockBytes, depth, prepared);
    // The superblocks after these, a share with each tile: they come while rows are multiplied. So do the places of the results.
    const std::uint8_t* next = job.panel + (sb + depth) * kSuperblockBytes;
    const std::int64_t lines = kDepth * kSuperblockBytes / 64;
    const bool isLast = sb + depth == job.superblocks;
    for (std::int64_t i = 0; i < tiles; i++) {
      for (std::int64_t l = lines * i / tiles; l < lines * (i + 1) / tiles; l++) prefetchLine(next + l * 64);
      const std::int64_t begin = tileStart(job.rows, tiles, i), rows = tileStart(job.rows, tiles, i + 1) - begin;
      float* const tileSums = sums + begin * kColumns;
      kTile[rows - 1](prepared, depth * kBlocks, job.tiles + (begin * job.superblocks + sb * rows) * kW4A4RowBytes, tileSums);
      if (!isLast) continue;
      for (std::int64_t r = 0; r < rows; r++)
        storeRow(job.out, begin + r, _mm512_load_ps(tileSums + r * kColumns), _mm512_load_ps(tileSums + r * kColumns + 16), kW4A4Undo);
    }
  }
}

}  // namespace megamoe::gemm::avx512
