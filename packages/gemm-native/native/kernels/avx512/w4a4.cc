// W4A4: integer dot products of 16 codes by vpdpbusd, times the two block scales, added to float32 accumulators in ascending k. Each
// product is exact (12 + 4 + 4 bits), so the fused multiply-add rounds once, where DESIGN 3.4 rounds.
//
// A packed row holds, for each block, 16 doubled codes, -12 times their sum (which starts the accumulator and so takes back the 12 of the
// unsigned weights), and its scale times 2^100: with the weight scale's 2^-120 the product stays a normal number. Rows of an expert with
// many rows (kTableRows) hold exponent and mantissa of the scale apart instead.
#include "nvfp4.h"
#include "w4a4.h"

namespace megamoe::gemm::avx512 {

namespace {

constexpr float kUndo = 0x1p18f;  // 2^20 for the scales, a quarter for the two doubled operands

constexpr std::int64_t kCodes = 128;                   // where the codes of a superblock begin

struct Weights {  // of one half of the panel: four steps of 4 k each
  __m512i step[4];
};

// Weights are decoded once for the tile, and fetched far ahead when they are cold: with that, one and two rows run at the speed of
// memory (loading the next superblock into registers instead reached 0.89 of it).
template <int Rows, bool IsCold>
void tileOf(const PanelJob& job, const std::uint8_t* tile, std::int64_t row) {
  const __m512i table = loadCodeTable();
  __m512 acc[Rows][2];
  for (int r = 0; r < Rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  const std::uint8_t* w = job.panel;
  for (std::int64_t sb = 0; sb < job.superblocks; sb++, w += kSuperblockBytes) {
    if (IsCold) prefetch(w + kAhead);
    const __m512i line0 = load(w), line1 = load(w + 64);
#pragma GCC unroll 1
    for (int b = 0; b < kBlocks; b++, tile += Rows * 24) {
      const std::uint8_t* c = w + kCodes + b * 256;
      const __m512i c0 = load(c), c1 = load(c + 64), c2 = load(c + 128), c3 = load(c + 192);
      const Weights left = {{decodeLow(c0, table), decodeHigh(c0, table), decodeLow(c1, table), decodeHigh(c1, table)}};
      const Weights right = {{decodeLow(c2, table), decodeHigh(c2, table), decodeLow(c3, table), decodeHigh(c3, table)}};
      const __m512 scale0 = scalesOf(line0, b), scale1 = scalesOf(line1, b);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; r++) {
        __m512i d0 = lanes(tile + Rows * 16 + r * 4), d1 = d0;
#pragma GCC unroll 4
        for (int g = 0; g < 4; g++) {
          const __m512i a = lanes(tile + r * 16 + g * 4);
          d0 = _mm512_dpbusd_epi32(d0, left.step[g], a);
          d1 = _mm512_dpbusd_epi32(d1, right.step[g], a);
        }
        const __m512 sa = floatLanes(tile + Rows * 20 + r * 4);
        acc[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d0), _mm512_mul_ps(scale0, sa), acc[r][0]);
        acc[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d1), _mm512_mul_ps(scale1, sa), acc[r][1]);
      }
    }
  }
  for (int r = 0; r < Rows; r++) storeRow(job.out, row + r, acc[r][0], acc[r][1], kUndo);
}

using Tile = void (*)(const PanelJob&, const std::uint8_t* tile, std::int64_t row);

// By rows of a tile, 1 to 8: the first tile of a panel finds its weights in memory, later ones in the cache.
constexpr Tile kFirst[kTileRows] = {tileOf<1, true>, tileOf<2, true>, tileOf<3, true>, tileOf<4, true>,
                                    tileOf<5, true>, tileOf<6, true>, tileOf<7, true>, tileOf<8, true>};
constexpr Tile kLater[kTileRows] = {tileOf<1, false>, tileOf<2, false>, tileOf<3, false>, tileOf<4, false>,
                                    tileOf<5, false>, tileOf<6, false>, tileOf<7, false>, tileOf<8, false>};

void packTile(const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t rows, std::int64_t groupRows,
              std::uint8_t* tile) {
  if (groupRows >= kTableRows) return packTableTile(codes, sf, k, rows, tile);
  const std::int64_t kSf = k / 16;
  for (std::int64_t r = 0; r < rows; r++, codes += k / 2, sf += kSf) {
    for (std::int64_t b = 0; b < kSf; b += kBlocks) {
      // A superblock that is not full has only so many codes behind it; the rest are zeros.
      const int blocks = kSf - b < kBlocks ? static_cast<int>(kSf - b) : static_cast<int>(kBlocks);
      const __mmask32 valid = static_cast<__mmask32>((std::uint64_t{1} << (8 * blocks)) - 1);
      const Row row = decodeRow(_mm256_maskz_loadu_epi8(valid, codes + b * 8));
      const __m128i bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>((1 << blocks) - 1), sf + b);
      // 2^220 in two steps: value * 2^-120 * 2^120 * 2^100.
      const __m128 raw = _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu8_epi32(bytes), 20));
      alignas(16) float scale[4];
      _mm_store_ps(scale, _mm_mul_ps(_mm_mul_ps(raw, _mm_set1_ps(0x1p120f)), _mm_set1_ps(0x1p100f)));
      alignas(64) std::int32_t start[16];
      _mm512_store_si512(start, row.start);
      std::uint8_t* out = tile + b * rows * 24;
      const __m128i lane[4] = {_mm512_castsi512_si128(row.values), _mm512_extracti32x4_epi32(row.values, 1),
                               _mm512_extracti32x4_epi32(row.values, 2), _mm512_extracti32x4_epi32(row.values, 3)};
      for (int i = 0; i < kBlocks; i++, out += rows * 24) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + r * 16), lane[i]);
        std::memcpy(out + rows * 16 + r * 4, &start[i * 4], 4);
        std::memcpy(out + rows * 20 + r * 4, &scale[i], 4);
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
