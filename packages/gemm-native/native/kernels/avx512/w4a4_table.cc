// W4A4 for many rows: what all rows share is computed once, the decoded codes of a block and the products of its scales
// with each of a row's eight possible mantissas. Only a row's exponent is left to add.
//
// Weights are prepared for as many superblocks at a time as stay in the first-level cache while all rows pass; the
// accumulators wait in scratch meanwhile. Every term is the same number as in w4a4.cc, so the bits are the same.
#include "w4a4.h"
#include "w4a4_scales.h"

namespace megamoe::gemm::avx512 {

namespace {

constexpr std::int64_t kDepth = 6;            // superblocks that are prepared together: 24 KiB
constexpr std::int64_t kCodeBytes = 512;      // decoded codes of a block: [half][step][lane][4]
constexpr std::int64_t kTableBytes = 8 * 64;  // [mantissa][column] in BF16
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
      for (int m = 0; m < 8; m++)
        _mm512_store_si512(out + kCodeBytes + m * 64, byMantissa(scales, _mm512_load_si512(kProducts.of[m])));
    }
  }
}

// Places of results that are written soon: they lie a row of the output apart, and are fetched one by one while a tile
// is computed.
struct Results {
  const float* first;
  std::int64_t stride;
  std::int64_t rows;  // 0: not yet
};

// Rows [First, Rows) of a block, three at a time: of the sums of one row alone too few instructions are independent.
template <int First, int Rows>
MEGAMOE_INLINE void addRows(const std::uint8_t* w, const __m512i (&left)[4], const __m512i (&right)[4],
                            const std::uint8_t* a, __m512 (*acc)[2]) {
  if constexpr (First < Rows) {
    constexpr int Some = Rows - First < 3 ? Rows - First : 3;
    __m512i d[Some][2];
#pragma GCC unroll 3
    for (int r = 0; r < Some; r++) d[r][0] = d[r][1] = lanes(a + Rows * 16 + (First + r) * 4);
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
#pragma GCC unroll 3
      for (int r = 0; r < Some; r++) {
        const __m512i v = lanes(a + (First + r) * 16 + g * 4);
        d[r][0] = _mm512_dpbusd_epi32(d[r][0], left[g], v);
        d[r][1] = _mm512_dpbusd_epi32(d[r][1], right[g], v);
      }
    }
#pragma GCC unroll 3
    for (int r = 0; r < Some; r++) {
      const std::uint8_t* word = a + Rows * 20 + (First + r) * 4;
      const __m512i s = _mm512_add_epi16(lanes(word), load(w + kCodeBytes + tableOffset(word)));
      acc[First + r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d[r][0]), leftHalf(s), acc[First + r][0]);
      acc[First + r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d[r][1]), rightHalf(s), acc[First + r][1]);
    }
    addRows<First + Some, Rows>(w, left, right, a, acc);
  }
}

// acc [Rows][32] += the products of `blocks` prepared blocks.
template <int Rows>
void tile(const std::uint8_t* w, std::int64_t blocks, const std::uint8_t* a, float* sums, const Results& results) {
  __m512 acc[Rows][2];
  for (int r = 0; r < Rows; r++) {
    acc[r][0] = _mm512_load_ps(sums + r * kColumns);
    acc[r][1] = _mm512_load_ps(sums + r * kColumns + 16);
  }
#pragma GCC unroll 1
  for (std::int64_t b = 0; b < blocks; b++, w += kBlockBytes, a += Rows * kW4A4BlockBytes) {
    if (b < results.rows) {
      __builtin_prefetch(results.first + b * results.stride, 1);
      __builtin_prefetch(results.first + b * results.stride + kColumns - 1, 1);
    }
    __m512i left[4], right[4];
    for (int g = 0; g < 4; g++) {
      left[g] = load(w + g * 64);
      right[g] = load(w + 256 + g * 64);
    }
    addRows<0, Rows>(w, left, right, a, acc);
  }
  for (int r = 0; r < Rows; r++) {
    _mm512_store_ps(sums + r * kColumns, acc[r][0]);
    _mm512_store_ps(sums + r * kColumns + 16, acc[r][1]);
  }
}

using Tile = void (*)(const std::uint8_t*, std::int64_t, const std::uint8_t*, float*, const Results&);
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
    // The superblocks after these, a share with each tile: they come while rows are multiplied. So do the places of the
    // results, in the last turn but one: a store that waits for its line holds up all that follow it.
    const std::uint8_t* next = job.panel + (sb + depth) * kSuperblockBytes;
    const std::int64_t lines = kDepth * kSuperblockBytes / 64;
    const std::int64_t left = job.superblocks - sb - depth;
    const bool isLast = left == 0, isLastButOne = left > 0 && left <= kDepth;
    for (std::int64_t i = 0; i < tiles; i++) {
      for (std::int64_t l = lines * i / tiles; l < lines * (i + 1) / tiles; l++) prefetchLine(next + l * 64);
      const std::int64_t begin = tileStart(job.rows, tiles, i), rows = tileStart(job.rows, tiles, i + 1) - begin;
      float* const tileSums = sums + begin * kColumns;
      kTile[rows - 1](prepared, depth * kBlocks, job.tiles + (begin * job.superblocks + sb * rows) * kW4A4RowBytes,
                      tileSums, {job.out.out + begin * job.out.stride, job.out.stride, isLastButOne ? rows : 0});
      if (!isLast) continue;
      for (std::int64_t r = 0; r < rows; r++)
        storeRow(job.out, begin + r, _mm512_load_ps(tileSums + r * kColumns),
                 _mm512_load_ps(tileSums + r * kColumns + 16), kW4A4Undo);
    }
  }
}

}  // namespace megamoe::gemm::avx512
