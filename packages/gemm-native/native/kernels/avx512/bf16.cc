// BF16 activations by the rule of bf16_rule.h: weights are decoded to scaled BF16 pairs, exactly, for as many
// superblocks at a time as stay in the first-level cache while all rows pass; then it is a plain BF16 product.
#include "../nvfp4/bf16_rule.h"
#include "avx512.h"
#include "nvfp4.h"

namespace megamoe::gemm::avx512 {

namespace {

constexpr std::int64_t kDepth = 8;                 // superblocks that are prepared together: 32 KiB
constexpr std::int64_t kPairs = kSuperblock / 2;   // of k, in a superblock
constexpr std::int64_t kPairBytes = kColumns * 4;  // [column] of two BF16
constexpr std::int64_t kPrepared = kDepth * kPairs * kPairBytes;
constexpr std::int64_t kRowBytes = kPairs * 4;  // of a packed row in a superblock

// E2M1 in BF16; twice, because vpermw looks at 5 bits of an index and a code has 4.
alignas(64) constexpr std::uint16_t kValues[32] = {
    0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0,  //
    0x8000, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0,  //
    0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0,  //
    0x8000, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0,  //
};

// The pair of codes at bit 0 of the two halves of each lane, times the scale.
inline __m512i scaledPair(__m512i codes, __m512i table, __m512 scale) {
  const __m512i pair = _mm512_permutexvar_epi16(codes, table);
  const __m512 upper = _mm512_mul_ps(
      _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xffff0000u)))), scale);
  const __m512 lower = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)), scale);
  return _mm512_or_si512(_mm512_castps_si512(upper), _mm512_srli_epi32(_mm512_castps_si512(lower), 16));
}

void prepare(const std::uint8_t* w, std::int64_t superblocks, std::uint8_t* out) {
  const __m512i table = _mm512_load_si512(kValues);
  for (std::int64_t sb = 0; sb < superblocks; sb++, w += kSuperblockBytes) {
    for (int b = 0; b < kBlocks; b++, out += 8 * kPairBytes)
      for (int h = 0; h < 2; h++) {
        const __m512 scale = _mm512_mul_ps(scalesOf(load(w + h * 64), b), _mm512_set1_ps(0x1p120f));
        for (int z = 0; z < 2; z++) {
          const __m512i codes = load(w + 128 + ((b * 2 + h) * 2 + z) * 64);
          std::uint8_t* pairs = out + z * 4 * kPairBytes + h * 64;
          _mm512_store_si512(pairs, scaledPair(codes, table, scale));
          _mm512_store_si512(pairs + kPairBytes, scaledPair(_mm512_srli_epi16(codes, 4), table, scale));
          _mm512_store_si512(pairs + 2 * kPairBytes, scaledPair(_mm512_srli_epi16(codes, 8), table, scale));
          _mm512_store_si512(pairs + 3 * kPairBytes, scaledPair(_mm512_srli_epi16(codes, 12), table, scale));
        }
      }
  }
}

template <int Rows>
void tile(const std::uint8_t* w, std::int64_t pairs, const std::uint8_t* a, float* sums) {
  __m512 acc[Rows][2];
  for (int r = 0; r < Rows; r++) {
    acc[r][0] = _mm512_load_ps(sums + r * kColumns);
    acc[r][1] = _mm512_load_ps(sums + r * kColumns + 16);
  }
#pragma GCC unroll 1
  for (std::int64_t p = 0; p < pairs; p++, w += kPairBytes, a += Rows * 4) {
    const __m512bh left = reinterpret_cast<__m512bh>(load(w)), right = reinterpret_cast<__m512bh>(load(w + 64));
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      const __m512bh v = reinterpret_cast<__m512bh>(lanes(a + r * 4));
      acc[r][0] = _mm512_dpbf16_ps(acc[r][0], left, v);
      acc[r][1] = _mm512_dpbf16_ps(acc[r][1], right, v);
    }
  }
  for (int r = 0; r < Rows; r++) {
    _mm512_store_ps(sums + r * kColumns, acc[r][0]);
    _mm512_store_ps(sums + r * kColumns + 16, acc[r][1]);
  }
}

using Tile = void (*)(const std::uint8_t*, std::int64_t, const std::uint8_t*, float*);
constexpr Tile kTile[kTileRows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>};

void panel(const PanelJob& job) {
  std::uint8_t* weights = static_cast<std::uint8_t*>(job.scratch);
  float* sums = reinterpret_cast<float*>(weights + kPrepared);
  for (std::int64_t i = 0; i < job.rows * kColumns; i += 16) _mm512_store_ps(sums + i, _mm512_setzero_ps());
  const std::int64_t tiles = tileCount(job.rows);
  for (std::int64_t sb = 0; sb < job.superblocks; sb += kDepth) {
    const std::int64_t depth = job.superblocks - sb < kDepth ? job.superblocks - sb : kDepth;
    prepare(job.panel + sb * kSuperblockBytes, depth, weights);
    // The superblocks after these, a share with each tile: they come while rows are multiplied. So do the places of the
    // results.
    const std::uint8_t* next = job.panel + (sb + depth) * kSuperblockBytes;
    const std::int64_t lines = kDepth * kSuperblockBytes / 64;
    const bool isLast = sb + depth == job.superblocks;
    for (std::int64_t i = 0; i < tiles; i++) {
      for (std::int64_t l = lines * i / tiles; l < lines * (i + 1) / tiles; l++) prefetchLine(next + l * 64);
      const std::int64_t begin = tileStart(job.rows, tiles, i), rows = tileStart(job.rows, tiles, i + 1) - begin;
      float* const tileSums = sums + begin * kColumns;
      kTile[rows - 1](weights, depth * kPairs, job.tiles + (begin * job.superblocks + sb * rows) * kRowBytes, tileSums);
      if (!isLast) continue;
      for (std::int64_t r = 0; r < rows; r++)
        storeRow(job.out, begin + r, _mm512_load_ps(tileSums + r * kColumns),
                 _mm512_load_ps(tileSums + r * kColumns + 16), 1.f);
    }
  }
}

// activationBf16 of 16 values, in pairs of the rule's order, the one that is added first in the upper half.
inline __m256i orderedBf16(__m512 x) {
  const __m256i bits = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
  const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi16(0x7fff));
  const __m256i kept = _mm256_maskz_mov_epi16(_mm256_cmpge_epi16_mask(magnitude, _mm256_set1_epi16(kLeastBf16)), bits);
  const __m256i order = _mm256_setr_epi16(kOrder[1], kOrder[0], kOrder[3], kOrder[2], kOrder[5], kOrder[4], kOrder[7],
                                          kOrder[6], 8 + kOrder[1], 8 + kOrder[0], 8 + kOrder[3], 8 + kOrder[2],
                                          8 + kOrder[5], 8 + kOrder[4], 8 + kOrder[7], 8 + kOrder[6]);
  return _mm256_permutexvar_epi16(order, kept);
}

void packTile(const float* a, std::int64_t k, std::int64_t rows, std::int64_t, std::uint8_t* tile, float* rowFactor) {
  const std::int64_t padded = (k + kSuperblock - 1) / kSuperblock * kSuperblock;
  for (std::int64_t r = 0; r < rows; r++, a += k) {
    rowFactor[r] = 1.f;
    for (std::int64_t i = 0; i < padded; i += 16) {
      alignas(32) std::uint32_t pairs[8] = {};
      if (i < k) _mm256_store_si256(reinterpret_cast<__m256i*>(pairs), orderedBf16(_mm512_loadu_ps(a + i)));
      for (int g = 0; g < 8; g++) std::memcpy(tile + ((i / 2 + g) * rows + r) * 4, &pairs[g], 4);
    }
  }
}

std::int64_t scratch(std::int64_t rows, std::int64_t) { return kPrepared + rows * kColumns * 4; }

}  // namespace

extern const Bf16Kernels kBf16 = {kRowBytes, scratch, packTile, panel};

}  // namespace megamoe::gemm::avx512
