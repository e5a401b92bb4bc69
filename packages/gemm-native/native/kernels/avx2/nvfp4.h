// What the NVFP4 kernels of this folder share. Everything here is private to the file that includes it.
//
// A vector is 8 columns, a quarter of a panel. Weights are unsigned (doubled E2M1 plus 12) and activations signed
// bytes, as vpmaddubsw takes them: its 16-bit sums hold all 16 products of a block, 24 * 128 * 8 at most.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "../nvfp4/kernels.h"

namespace megamoe::gemm::avx2 {

namespace {

using namespace megamoe::gemm::nvfp4;

constexpr std::int64_t kCodes = 128;  // where the codes of a superblock begin

inline __m256i load(const std::uint8_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }

// A 4-byte value in all lanes; tiles are read this way.
inline __m256i lanes(const std::uint8_t* p) {
  std::int32_t v;
  std::memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}
inline __m256 floatLanes(const std::uint8_t* p) { return _mm256_castsi256_ps(lanes(p)); }

// Four steps of 4 k each of a block.
struct Weights {
  __m256i step[4];
};

// Block `block` of a superblock for columns 8 * quarter...
inline Weights decode(const std::uint8_t* superblock, int block, int quarter) {
  const __m256i table = _mm256_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0,  //
                                         12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
  const __m256i nibble = _mm256_set1_epi8(15);
  const std::uint8_t* line = superblock + kCodes + (block * 2 + quarter / 2) * 128 + quarter % 2 * 32;
  Weights w;
  for (int z = 0; z < 2; z++) {
    const __m256i codes = load(line + z * 64);
    w.step[2 * z] = _mm256_shuffle_epi8(table, _mm256_and_si256(codes, nibble));
    w.step[2 * z + 1] = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble));
  }
  return w;
}

// Sum of the 16 products of each column with 16 signed bytes.
inline __m256i dot(const Weights& w, const std::uint8_t* a) {
  __m256i sum = _mm256_maddubs_epi16(w.step[0], lanes(a));
  for (int g = 1; g < 4; g++) sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w.step[g], lanes(a + g * 4)));
  return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

// Scales of block `block` times 2^-120: E4M3's exponent and mantissa moved to float32's places, subnormals included.
inline __m256 scales(const std::uint8_t* superblock, int block, int quarter) {
  const __m256i line = load(superblock + quarter * 32);
  const __m256i moved =
      block == 3 ? _mm256_srli_epi32(line, 4) : _mm256_sll_epi32(line, _mm_cvtsi32_si128(20 - 8 * block));
  return _mm256_castsi256_ps(_mm256_and_si256(moved, _mm256_set1_epi32(0x07f00000)));
}

// Writes 8 columns of one row: alpha * (acc * factor * rowFactor), then * rowScale. The factors are powers of two,
// their products exact.
inline void storeColumns(const PanelOut& o, std::int64_t row, int quarter, __m256 acc, float factor) {
  const int columns = o.columns - quarter * 8;
  if (columns <= 0) return;
  const __m256 f = _mm256_set1_ps(o.rowFactor == nullptr ? factor : factor * o.rowFactor[row]);
  __m256 v = _mm256_mul_ps(_mm256_loadu_ps(o.alpha + quarter * 8), _mm256_mul_ps(acc, f));
  if (o.rowScale != nullptr) v = _mm256_mul_ps(v, _mm256_set1_ps(o.rowScale[row]));
  float* out = o.out + row * o.stride + quarter * 8;
  if (columns >= 8) return _mm256_storeu_ps(out, v);
  const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(columns), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  _mm256_maskstore_ps(out, mask, v);
}

// All tiles of a panel through Tile<rows, quarters>::run(job, tile, row, firstQuarter): as many columns at a time as
// fit the 16 registers beside the rows.
template <template <int, int> class Tile>
void eachTile(const PanelJob& job, std::int64_t rowBytes) {
  const std::int64_t tiles = tileCount(job.rows);
  for (std::int64_t i = 0; i < tiles; i++) {
    const std::int64_t row = tileStart(job.rows, tiles, i), rows = tileStart(job.rows, tiles, i + 1) - row;
    const std::uint8_t* tile = job.tiles + row * rowBytes * job.superblocks;
    if (rows == 1) {
      Tile<1, 4>::run(job, tile, row, 0);
      continue;
    }
    for (int quarter = 0; quarter < 4; quarter += (rows > 4 ? 1 : 2)) switch (rows) {
        case 2: Tile<2, 2>::run(job, tile, row, quarter); break;
        case 3: Tile<3, 2>::run(job, tile, row, quarter); break;
        case 4: Tile<4, 2>::run(job, tile, row, quarter); break;
        case 5: Tile<5, 1>::run(job, tile, row, quarter); break;
        case 6: Tile<6, 1>::run(job, tile, row, quarter); break;
        case 7: Tile<7, 1>::run(job, tile, row, quarter); break;
        default: Tile<8, 1>::run(job, tile, row, quarter);
      }
  }
}

}  // namespace

}  // namespace megamoe::gemm::avx2
