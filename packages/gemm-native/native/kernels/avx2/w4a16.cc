// W4A16 by the rule of block_integers.h, the integers of a block as three signed bytes each (see avx512/w4a16.cc).
#include <limits>

#include "../nvfp4/block_integers.h"
#include "avx2.h"
#include "nvfp4.h"

namespace megamoe::gemm::avx2 {

namespace {

constexpr std::int64_t kRow = 56;  // bytes of a packed row in a block
constexpr std::int64_t kDigits = 48;

template <int Rows, int Quarters>
struct Tile {
  static void run(const PanelJob& job, const std::uint8_t* tile, std::int64_t row, int first) {
    __m256 acc[Rows][Quarters];
    for (int r = 0; r < Rows; r++)
      for (int q = 0; q < Quarters; q++) acc[r][q] = _mm256_setzero_ps();
    const std::uint8_t* w = job.panel;
    for (std::int64_t sb = 0; sb < job.superblocks; sb++, w += kSuperblockBytes) {
      for (int b = 0; b < kBlocks; b++, tile += Rows * kRow) {
#pragma GCC unroll 4
        for (int q = 0; q < Quarters; q++) {
          const Weights weights = decode(w, b, first + q);
          const __m256 scale = scales(w, b, first + q);
#pragma GCC unroll 8
          for (int r = 0; r < Rows; r++) {
            const std::uint8_t* digits = tile + r * kDigits;
            __m256i sum = dot(weights, digits);
            sum = _mm256_add_epi32(_mm256_slli_epi32(sum, 8), dot(weights, digits + 16));
            sum = _mm256_add_epi32(_mm256_slli_epi32(sum, 8), dot(weights, digits + 32));
            sum = _mm256_add_epi32(sum, lanes(tile + Rows * kDigits + r * 4));
            const __m256 both = _mm256_mul_ps(scale, floatLanes(tile + Rows * (kDigits + 4) + r * 4));
            // Two roundings, not a fused one: the product of t and the scale is not exact.
            acc[r][q] = _mm256_add_ps(acc[r][q], _mm256_mul_ps(_mm256_cvtepi32_ps(sum), both));
          }
        }
      }
    }
    for (int r = 0; r < Rows; r++)
      for (int q = 0; q < Quarters; q++) storeColumns(job.out, row + r, first + q, acc[r][q], 1.f);
  }
};

inline __m256i magnitude(const float* a) {
  return _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(a)), _mm256_set1_epi32(static_cast<int>(kMagnitude)));
}

std::uint32_t amaxBits(const float* a, std::int64_t n) {
  __m256i most = _mm256_setzero_si256();
  for (std::int64_t i = 0; i < n; i += 8) most = _mm256_max_epi32(most, magnitude(a + i));
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(m));
}

void packBlock(const float* a, int row, std::int64_t rows, std::int64_t r, std::uint8_t* out) {
  const int e = blockExponent(amaxBits(a, 16), row);
  const __m256 up = _mm256_set1_ps(quantizingFactor(e));
  alignas(32) std::int32_t q[16];
  for (int i = 0; i < 16; i += 8)
    _mm256_store_si256(reinterpret_cast<__m256i*>(q + i),
                       _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(a + i), up)));
  std::int32_t sum = 0;
  std::uint8_t* digits = out + r * kDigits;
  for (int i = 0; i < 16; i++) {  // q = upper * 2^16 + middle * 2^8 + lower, all signed bytes
    const std::int32_t middle = (q[i] + 128) >> 8, upper = (middle + 128) >> 8;
    digits[i] = static_cast<std::uint8_t>(upper);
    digits[16 + i] = static_cast<std::uint8_t>(middle);
    digits[32 + i] = static_cast<std::uint8_t>(q[i]);
    sum += q[i];
  }
  const std::int32_t start = -12 * sum;
  const float factor = powerOfTwo(e - row + 120);
  std::memcpy(out + rows * kDigits + r * 4, &start, 4);
  std::memcpy(out + rows * (kDigits + 4) + r * 4, &factor, 4);
}

void packTile(const float* a, std::int64_t k, std::int64_t rows, std::int64_t, std::uint8_t* tile, float* rowFactor) {
  const std::int64_t padded = (k + kSuperblock - 1) / kSuperblock * kSuperblock;
  const float zeros[16] = {};
  for (std::int64_t r = 0; r < rows; r++, a += k) {
    const std::uint32_t most = amaxBits(a, k);
    const bool finite = most < kNotFinite;
    const int row = finite ? rowExponent(most) : kLeastExponent;
    rowFactor[r] = finite ? rowFactorOf(row) : std::numeric_limits<float>::quiet_NaN();
    for (std::int64_t i = 0; i < padded; i += 16)
      packBlock(finite && i < k ? a + i : zeros, row, rows, r, tile + i / 16 * rows * kRow);
  }
}

void panel(const PanelJob& job) { eachTile<Tile>(job, kBlocks * kRow); }

std::int64_t scratch(std::int64_t, std::int64_t) { return 0; }

}  // namespace

extern const W4A16Kernels kW4A16 = {kBlocks * kRow, scratch, packTile, panel};

}  // namespace megamoe::gemm::avx2
