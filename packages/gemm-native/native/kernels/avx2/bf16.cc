// BF16 activations by the rule of bf16_rule.h, by float32 multiply-adds: BF16 numbers are float32 numbers. Weights are
// decoded, exactly, for two superblocks at a time that stay in the first-level cache while all rows pass.
#include "../nvfp4/bf16_rule.h"
#include "avx2.h"
#include "nvfp4.h"

namespace megamoe::gemm::avx2 {

namespace {

constexpr std::int64_t kDepth = 2;
constexpr std::int64_t kPrepared = kDepth * kSuperblock * kColumns * 4;  // [k in the rule's order][column] float32
constexpr std::int64_t kRowBytes = kSuperblock * 4;

void prepare(const std::uint8_t* w, std::int64_t superblocks, float* out) {
  // E2M1 as the upper byte of its BF16 form, without the bit below (1.5, 3 and 6 have it): that comes from a second
  // table.
  const __m256i upper = _mm256_setr_epi8(
      0, 0x3f, 0x3f, 0x3f, 0x40, 0x40, 0x40, 0x40, -0x80, -0x41, -0x41, -0x41, -0x40, -0x40, -0x40, -0x40,  //
      0, 0x3f, 0x3f, 0x3f, 0x40, 0x40, 0x40, 0x40, -0x80, -0x41, -0x41, -0x41, -0x40, -0x40, -0x40, -0x40);
  const __m256i lower =
      _mm256_setr_epi8(0, 0, -0x80, -0x40, 0, 0x40, -0x80, -0x40, 0, 0, -0x80, -0x40, 0, 0x40, -0x80, -0x40,  //
                       0, 0, -0x80, -0x40, 0, 0x40, -0x80, -0x40, 0, 0, -0x80, -0x40, 0, 0x40, -0x80, -0x40);
  const __m256i nibble = _mm256_set1_epi32(15);
  for (std::int64_t sb = 0; sb < superblocks; sb++, w += kSuperblockBytes)
    for (int b = 0; b < kBlocks; b++)
      for (int q = 0; q < 4; q++) {
        const __m256 scale = _mm256_mul_ps(scales(w, b, q), _mm256_set1_ps(0x1p120f));
        for (int z = 0; z < 2; z++) {
          const __m256i codes = load(w + kCodes + (b * 2 + q / 2) * 128 + z * 64 + q % 2 * 32);
          float* lines = out + ((sb * kBlocks + b) * 16 + z * 8) * kColumns + q * 8;
          for (int i = 0; i < 8; i++) {
            const int k = kOrder[i], shift = 8 * (k % 4) + (k >= 4 ? 4 : 0);
            const __m256i code = _mm256_and_si256(_mm256_srl_epi32(codes, _mm_cvtsi32_si128(shift)), nibble);
            const __m256i high = _mm256_slli_epi32(_mm256_shuffle_epi8(upper, code), 24);
            const __m256i low =
                _mm256_slli_epi32(_mm256_and_si256(_mm256_shuffle_epi8(lower, code), _mm256_set1_epi32(255)), 16);
            _mm256_store_ps(lines + i * kColumns,
                            _mm256_mul_ps(_mm256_castsi256_ps(_mm256_or_si256(high, low)), scale));
          }
        }
      }
}

// Columns 8 * quarter.. of Rows rows.
template <int Rows>
void tile(const float* w, std::int64_t depth, const std::uint8_t* a, float* sums, int quarter) {
  __m256 acc[Rows];
  for (int r = 0; r < Rows; r++) acc[r] = _mm256_load_ps(sums + r * kColumns + quarter * 8);
  for (std::int64_t i = 0; i < depth; i++, a += Rows * 4) {
    const __m256 v = _mm256_load_ps(w + i * kColumns + quarter * 8);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) acc[r] = _mm256_fmadd_ps(floatLanes(a + r * 4), v, acc[r]);
  }
  for (int r = 0; r < Rows; r++) _mm256_store_ps(sums + r * kColumns + quarter * 8, acc[r]);
}

using Tile = void (*)(const float*, std::int64_t, const std::uint8_t*, float*, int);
constexpr Tile kTile[kTileRows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>};

void panel(const PanelJob& job) {
  float* weights = static_cast<float*>(job.scratch);
  float* sums = weights + kPrepared / 4;
  for (std::int64_t i = 0; i < job.rows * kColumns; i++) sums[i] = 0;
  const std::int64_t tiles = tileCount(job.rows);
  for (std::int64_t sb = 0; sb < job.superblocks; sb += kDepth) {
    const std::int64_t depth = job.superblocks - sb < kDepth ? job.superblocks - sb : kDepth;
    prepare(job.panel + sb * kSuperblockBytes, depth, weights);
    for (std::int64_t i = 0; i < tiles; i++) {
      const std::int64_t begin = tileStart(job.rows, tiles, i), rows = tileStart(job.rows, tiles, i + 1) - begin;
      const std::uint8_t* a = job.tiles + (begin * job.superblocks + sb * rows) * kRowBytes;
      for (int quarter = 0; quarter < 4; quarter++)
        kTile[rows - 1](weights, depth * kSuperblock, a, sums + begin * kColumns, quarter);
    }
  }
  for (std::int64_t r = 0; r < job.rows; r++)
    for (int quarter = 0; quarter < 4; quarter++)
      storeColumns(job.out, r, quarter, _mm256_load_ps(sums + r * kColumns + quarter * 8), 1.f);
}

void packTile(const float* a, std::int64_t k, std::int64_t rows, std::int64_t, std::uint8_t* tile, float* rowFactor) {
  const std::int64_t padded = (k + kSuperblock - 1) / kSuperblock * kSuperblock;
  for (std::int64_t r = 0; r < rows; r++, a += k) {
    rowFactor[r] = 1.f;
    for (std::int64_t i = 0; i < padded; i += 8)
      for (int j = 0; j < 8; j++) {
        const std::uint32_t bits = i < k ? activationBf16(a[i + kOrder[j]]) << 16 : 0;
        std::memcpy(tile + ((i + j) * rows + r) * 4, &bits, 4);
      }
  }
}

std::int64_t scratch(std::int64_t rows, std::int64_t) { return kPrepared + rows * kColumns * 4; }

}  // namespace

extern const Bf16Kernels kBf16 = {kRowBytes, scratch, packTile, panel};

}  // namespace megamoe::gemm::avx2
