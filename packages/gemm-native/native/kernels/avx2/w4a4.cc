// W4A4 without vpdpbusd: see avx512/w4a4.cc for the arithmetic, which is the same number by number.
//
// A packed row holds, for each block, 16 doubled codes, -12 times their sum, and its scale times 2^100.
#include "avx2.h"
#include "nvfp4.h"

namespace megamoe::gemm::avx2 {

namespace {

constexpr float kUndo = 0x1p18f;   // 2^20 for the scales, a quarter for the two doubled operands
constexpr std::int64_t kRow = 24;  // bytes of a packed row in a block

template <int Rows, int Quarters>
struct Tile {
  static void run(const PanelJob& job, const std::uint8_t* tile, std::int64_t row, int first) {
    __m256 acc[Rows][Quarters];
    for (int r = 0; r < Rows; r++)
      for (int q = 0; q < Quarters; q++) acc[r][q] = _mm256_setzero_ps();
    const std::uint8_t* w = job.panel;
    for (std::int64_t sb = 0; sb < job.superblocks; sb++, w += kSuperblockBytes) {
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; b++, tile += Rows * kRow) {
#pragma GCC unroll 4
        for (int q = 0; q < Quarters; q++) {
          const Weights weights = decode(w, b, first + q);
          const __m256 scale = scales(w, b, first + q);
#pragma GCC unroll 8
          for (int r = 0; r < Rows; r++) {
            const __m256i sum = _mm256_add_epi32(dot(weights, tile + r * 16), lanes(tile + Rows * 16 + r * 4));
            const __m256 both = _mm256_mul_ps(scale, floatLanes(tile + Rows * 20 + r * 4));
            acc[r][q] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), both, acc[r][q]);
          }
        }
      }
    }
    for (int r = 0; r < Rows; r++)
      for (int q = 0; q < Quarters; q++) storeColumns(job.out, row + r, first + q, acc[r][q], kUndo);
  }
};

void packTile(const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t rows, std::int64_t,
              std::uint8_t* tile) {
  const std::int64_t kSf = k / 16, padded = (kSf + kBlocks - 1) / kBlocks * kBlocks;
  const __m128i doubled = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
  for (std::int64_t r = 0; r < rows; r++, codes += k / 2, sf += kSf)
    for (std::int64_t b = 0; b < padded; b++) {
      std::uint8_t* out = tile + b * rows * kRow;
      __m128i values = _mm_setzero_si128();
      std::int32_t start = 0;
      float scale = 0;
      if (b < kSf) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + b * 8));
        const __m128i pairs = _mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4));  // the even element is the low nibble
        values = _mm_shuffle_epi8(doubled, _mm_and_si128(pairs, _mm_set1_epi8(15)));
        // Plus 8 * 12 each.
        const __m128i sums = _mm_sad_epu8(_mm_add_epi8(values, _mm_set1_epi8(12)), _mm_setzero_si128());
        start = -12 * (_mm_cvtsi128_si32(sums) + _mm_extract_epi16(sums, 4) - 16 * 12);
        const std::uint32_t raw = static_cast<std::uint32_t>(sf[b]) << 20;
        std::memcpy(&scale, &raw, 4);
        scale = scale * 0x1p120f * 0x1p100f;
      }
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + r * 16), values);
      std::memcpy(out + rows * 16 + r * 4, &start, 4);
      std::memcpy(out + rows * 20 + r * 4, &scale, 4);
    }
}

void panel(const PanelJob& job) { eachTile<Tile>(job, kBlocks * kRow); }

std::int64_t scratch(std::int64_t, std::int64_t) { return 0; }

}  // namespace

extern const W4A4Kernels kW4A4 = {kBlocks * kRow, scratch, packTile, panel};

}  // namespace megamoe::gemm::avx2
