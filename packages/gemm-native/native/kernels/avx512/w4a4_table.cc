// W4A4 for many rows: one multiplication less for each block product.
//
// The product of two E4M3 scales is looked up and shifted instead of multiplied: a table holds weight scale * 2^-9 * (1 + m/8) for the
// eight mantissas m, and the row's exponent (plus 9, so that it is never negative) is added to the float's. Additions run where
// vpdpbusd does not. Weights are decoded and tables made for as many superblocks at a time as stay in the second-level cache while
// all rows pass; the accumulators of a longer K wait in scratch meanwhile. Every term is the same number as in w4a4.cc, so the bits are
// the same.
//
// A zero scale would become 2^exponent. It does no harm, because its codes are zeros too (weight.h; packTableTile for rows), and zero
// times a number is zero.
#include "nvfp4.h"
#include "w4a4.h"

namespace megamoe::gemm::avx512 {

namespace {

constexpr float kUndo = 0.25f;                     // two doubled operands
constexpr std::int64_t kDepth = 64;                // superblocks that are prepared together: 384 KiB
constexpr std::int64_t kCodeBytes = 512;           // decoded codes of a block: [half][step][lane][4]
constexpr std::int64_t kTableBytes = 8 * 32 * 4;   // [mantissa][column]
constexpr std::int64_t kPrepared = kDepth * kBlocks * (kCodeBytes + kTableBytes);

void prepare(const std::uint8_t* w, std::int64_t superblocks, std::uint8_t* codes, std::uint8_t* table) {
  const __m512i code = loadCodeTable();
  const __m512 up = _mm512_set1_ps(0x1p111f);  // 2^120 of the raw scale, 2^-9 of the exponents
  for (std::int64_t sb = 0; sb < superblocks; sb++, w += kSuperblockBytes) {
    prefetch(w + kAhead);
    for (int b = 0; b < kBlocks; b++, codes += kCodeBytes, table += kTableBytes) {
      for (int h = 0; h < 2; h++) {
        const std::uint8_t* line = w + 128 + (b * 2 + h) * 128;
        const __m512i c0 = load(line), c1 = load(line + 64);
        _mm512_store_si512(codes + h * 256, decodeLow(c0, code));
        _mm512_store_si512(codes + h * 256 + 64, decodeHigh(c0, code));
        _mm512_store_si512(codes + h * 256 + 128, decodeLow(c1, code));
        _mm512_store_si512(codes + h * 256 + 192, decodeHigh(c1, code));
        const __m512 s = _mm512_mul_ps(scalesOf(load(w + h * 64), b), up);
        for (int m = 0; m < 8; m++)
          _mm512_store_ps(reinterpret_cast<float*>(table + m * 128 + h * 64),
                          _mm512_mul_ps(s, _mm512_set1_ps(1.f + static_cast<float>(m) / 8.f)));
      }
    }
  }
}

// acc [Rows][32] += the products of `blocks` prepared blocks.
template <int Rows>
void tile(const std::uint8_t* codes, const std::uint8_t* table, std::int64_t blocks, const std::uint8_t* a, float* sums) {
  __m512 acc[Rows][2];
  for (int r = 0; r < Rows; r++) {
    acc[r][0] = _mm512_load_ps(sums + r * kColumns);
    acc[r][1] = _mm512_load_ps(sums + r * kColumns + 16);
  }
#pragma GCC unroll 1
  for (std::int64_t b = 0; b < blocks; b++, codes += kCodeBytes, table += kTableBytes, a += Rows * 28) {
    __m512i left[4], right[4];
    for (int g = 0; g < 4; g++) {
      left[g] = load(codes + g * 64);
      right[g] = load(codes + 256 + g * 64);
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
      const __m512i exponent = lanes(a + Rows * 20 + r * 4);
      std::uint32_t offset;
      std::memcpy(&offset, a + Rows * 24 + r * 4, 4);
      const __m512 s0 = _mm512_castsi512_ps(_mm512_add_epi32(exponent, load(table + offset)));
      const __m512 s1 = _mm512_castsi512_ps(_mm512_add_epi32(exponent, load(table + offset + 64)));
      acc[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d0), s0, acc[r][0]);
      acc[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d1), s1, acc[r][1]);
    }
  }
  for (int r = 0; r < Rows; r++) {
    _mm512_store_ps(sums + r * kColumns, acc[r][0]);
    _mm512_store_ps(sums + r * kColumns + 16, acc[r][1]);
  }
}

using Tile = void (*)(const std::uint8_t*, const std::uint8_t*, std::int64_t, const std::uint8_t*, float*);
constexpr Tile kTile[kTileRows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>};

}  // namespace

std::int64_t tableScratch(std::int64_t rows) { return kPrepared + rows * kColumns * 4; }

void tablePanel(const PanelJob& job) {
  std::uint8_t* codes = static_cast<std::uint8_t*>(job.scratch);
  std::uint8_t* table = codes + kDepth * kBlocks * kCodeBytes;
  float* sums = reinterpret_cast<float*>(codes + kPrepared);
  for (std::int64_t i = 0; i < job.rows * kColumns; i += 16) _mm512_store_ps(sums + i, _mm512_setzero_ps());
  const std::int64_t tiles = tileCount(job.rows);
  for (std::int64_t sb = 0; sb < job.superblocks; sb += kDepth) {
    const std::int64_t depth = job.superblocks - sb < kDepth ? job.superblocks - sb : kDepth;
    prepare(job.panel + sb * kSuperblockBytes, depth, codes, table);
    for (std::int64_t i = 0; i < tiles; i++) {
      const std::int64_t begin = tileStart(job.rows, tiles, i), rows = tileStart(job.rows, tiles, i + 1) - begin;
      kTile[rows - 1](codes, table, depth * kBlocks, job.tiles + (begin * job.superblocks + sb * rows) * kW4A4RowBytes,
                      sums + begin * kColumns);
    }
  }
  for (std::int64_t r = 0; r < job.rows; r++)
    storeRow(job.out, r, _mm512_load_ps(sums + r * kColumns), _mm512_load_ps(sums + r * kColumns + 16), kUndo);
}

void packTableTile(const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t rows, std::uint8_t* tile) {
  const std::int64_t kSf = k / 16;
  for (std::int64_t r = 0; r < rows; r++, codes += k / 2, sf += kSf) {
    for (std::int64_t b = 0; b < kSf; b += kBlocks) {
      const int blocks = kSf - b < kBlocks ? static_cast<int>(kSf - b) : static_cast<int>(kBlocks);
      const __m128i bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>((1 << blocks) - 1), sf + b);
      const __m128i scale = _mm_castps_si128(
          _mm_mul_ps(_mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu8_epi32(bytes), 20)), _mm_set1_ps(0x1p120f)));
      const __mmask8 zero = _mm_cmpeq_epi32_mask(scale, _mm_setzero_si128());
      const __m128i exponent = _mm_sub_epi32(_mm_and_si128(scale, _mm_set1_epi32(0x7f800000)), _mm_set1_epi32((127 - 9) << 23));
      const __m128i mantissa = _mm_and_si128(_mm_srli_epi32(scale, 20), _mm_set1_epi32(7));
      alignas(16) std::int32_t exponents[4], offsets[4];
      _mm_store_si128(reinterpret_cast<__m128i*>(exponents), _mm_maskz_mov_epi32(static_cast<__mmask8>(~zero & 15), exponent));
      _mm_store_si128(reinterpret_cast<__m128i*>(offsets), _mm_slli_epi32(mantissa, 7));
      std::uint32_t valid = 0;  // code bytes that exist and have a scale
      for (int i = 0; i < blocks; i++) valid |= (zero >> i) & 1 ? 0u : 0xffu << (8 * i);
      const Row row = decodeRow(_mm256_maskz_loadu_epi8(valid, codes + b * 8));
      alignas(64) std::int32_t start[16];
      _mm512_store_si512(start, row.start);
      const __m128i lane[4] = {_mm512_castsi512_si128(row.values), _mm512_extracti32x4_epi32(row.values, 1),
                               _mm512_extracti32x4_epi32(row.values, 2), _mm512_extracti32x4_epi32(row.values, 3)};
      std::uint8_t* out = tile + b * rows * 28;
      for (int i = 0; i < kBlocks; i++, out += rows * 28) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + r * 16), lane[i]);
        std::memcpy(out + rows * 16 + r * 4, &start[i * 4], 4);
        std::memcpy(out + rows * 20 + r * 4, &exponents[i], 4);
        std::memcpy(out + rows * 24 + r * 4, &offsets[i], 4);
      }
    }
  }
}

}  // namespace megamoe::gemm::avx512
