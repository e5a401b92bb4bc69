// W4A16 by the rule of block_integers.h. The integers of a block are three signed bytes each, so that vpdpbusd
// multiplies them: an integer dot product is 12 instructions for 256 products, where float32 would need 16 and as many
// conversions of weights.
//
// A packed row holds, for each block, the three bytes of its 16 integers (the upper ones first), -12 times their sum
// for the 12 of the unsigned weights, and 2^(E - R) times 2^120 for the weight scale's 2^-120.
#include <limits>

#include "../nvfp4/block_integers.h"
#include "avx512.h"
#include "nvfp4.h"

namespace megamoe::gemm::avx512 {

namespace {

constexpr std::int64_t kRow = 56;  // bytes of a packed row in a block
constexpr std::int64_t kDigits = 48;
constexpr std::int64_t kCodes = 128;  // where the codes of a superblock begin

struct Weights {
  __m512i step[4];
};

// The exact integer dot product: a sum for each digit, so that no chain of vpdpbusd is longer than four.
inline __m512i dot(const Weights& w, const std::uint8_t* digits, __m512i start) {
  __m512i upper = _mm512_setzero_si512(), middle = _mm512_setzero_si512(), lower = start;
#pragma GCC unroll 4
  for (int g = 0; g < 4; g++) {
    upper = _mm512_dpbusd_epi32(upper, w.step[g], lanes(digits + g * 4));
    middle = _mm512_dpbusd_epi32(middle, w.step[g], lanes(digits + 16 + g * 4));
    lower = _mm512_dpbusd_epi32(lower, w.step[g], lanes(digits + 32 + g * 4));
  }
  return _mm512_add_epi32(_mm512_slli_epi32(_mm512_add_epi32(_mm512_slli_epi32(upper, 8), middle), 8), lower);
}

// Two roundings, not a fused one: the product of t and the scale is not exact.
inline __m512 add(__m512 acc, __m512i integer, __m512 scale) {
  return _mm512_add_ps(acc, _mm512_mul_ps(_mm512_cvtepi32_ps(integer), scale));
}

// One half of the panel: with both, the weights of a block and the sums would not fit the registers beside 16
// accumulators.
template <int Rows>
inline void addRows(const std::uint8_t* tile, const Weights& w, __m512 scale, int half, __m512 (*acc)[2]) {
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
    const __m512i start = lanes(tile + Rows * kDigits + r * 4);
    const __m512 factor = floatLanes(tile + Rows * (kDigits + 4) + r * 4);
    acc[r][half] = add(acc[r][half], dot(w, tile + r * kDigits, start), _mm512_mul_ps(scale, factor));
  }
}

// One row, both halves at once, so that each digit is read once and six sums run beside each other. Codes are loaded
// two blocks ahead of their use.
struct Stream {
  __m512i table, codes[8];
  __m512 acc[2];

  template <int B>
  void block(const std::uint8_t* tile, const std::uint8_t* w) {
    constexpr int now = B % 2 * 4;
    const Weights left = {{decodeLow(codes[now], table), decodeHigh(codes[now], table),
                           decodeLow(codes[now + 1], table), decodeHigh(codes[now + 1], table)}};
    const Weights right = {{decodeLow(codes[now + 2], table), decodeHigh(codes[now + 2], table),
                            decodeLow(codes[now + 3], table), decodeHigh(codes[now + 3], table)}};
    const std::uint8_t* next = w + kCodes + (B + 2) * 256 + (B + 2 >= kBlocks ? kCodes : 0);
    for (int i = 0; i < 4; i++) codes[now + i] = load(next + i * 64);
    const std::uint8_t* digits = tile + B * kRow;
    const __m512i start = lanes(digits + kDigits);
    const __m512i zero = _mm512_setzero_si512();
    __m512i sum[3][2] = {{zero, zero}, {zero, zero}, {start, start}};
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
      prefetchLine(w + kAhead + (B * 4 + g) * 64);  // spread, not in one burst
      if (B == 3 && g > 1) prefetchLine(w + kAhead + (14 + g) * 64);
#pragma GCC unroll 3
      for (int d = 0; d < 3; d++) {
        const __m512i a = lanes(digits + d * 16 + g * 4);
        sum[d][0] = _mm512_dpbusd_epi32(sum[d][0], left.step[g], a);
        sum[d][1] = _mm512_dpbusd_epi32(sum[d][1], right.step[g], a);
      }
    }
    const __m512 factor = floatLanes(digits + kDigits + 4);
    for (int h = 0; h < 2; h++) {
      const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(sum[0][h], 8), sum[1][h]);
      acc[h] = add(acc[h], _mm512_add_epi32(_mm512_slli_epi32(upper, 8), sum[2][h]),
                   _mm512_mul_ps(scales<B>(load(w + h * 64)), factor));
    }
  }
};

void streamRow(const PanelJob& job, const std::uint8_t* tile, std::int64_t row) {
  Stream s;
  s.table = loadCodeTable();
  const std::uint8_t* w = job.panel;
  for (int i = 0; i < 8; i++) s.codes[i] = load(w + kCodes + i * 64);
  s.acc[0] = s.acc[1] = _mm512_setzero_ps();
  for (std::int64_t b = 0; b < job.superblocks; b++, tile += kBlocks * kRow, w += kSuperblockBytes) {
    s.block<0>(tile, w);
    s.block<1>(tile, w);
    s.block<2>(tile, w);
    s.block<3>(tile, w);
  }
  storeRow(job.out, row, s.acc[0], s.acc[1], 1.f);
}

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
    for (int b = 0; b < kBlocks; b++, tile += Rows * kRow) {
      const std::uint8_t* c = w + kCodes + b * 256;
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++) {
        const __m512i c0 = load(c + h * 128), c1 = load(c + h * 128 + 64);
        const Weights weights = {
            {decodeLow(c0, table), decodeHigh(c0, table), decodeLow(c1, table), decodeHigh(c1, table)}};
        addRows<Rows>(reread(tile), weights, scalesOf(h == 0 ? line0 : line1, b), h, acc);
      }
    }
  }
  for (int r = 0; r < Rows; r++) storeRow(job.out, row + r, acc[r][0], acc[r][1], 1.f);
}

using Tile = void (*)(const PanelJob&, const std::uint8_t*, std::int64_t);

// By rows of a tile, 1 to 8: the first tile of a panel finds its weights in memory, later ones in the cache.
constexpr Tile kFirst[kTileRows] = {streamRow,       tileOf<2, true>, tileOf<3, true>, tileOf<4, true>,
                                    tileOf<5, true>, tileOf<6, true>, tileOf<7, true>, tileOf<8, true>};
constexpr Tile kLater[kTileRows] = {streamRow,        tileOf<2, false>, tileOf<3, false>, tileOf<4, false>,
                                    tileOf<5, false>, tileOf<6, false>, tileOf<7, false>, tileOf<8, false>};

void panel(const PanelJob& job) {
  const std::int64_t tiles = tileCount(job.rows);
  for (std::int64_t i = 0; i < tiles; i++) {
    const std::int64_t begin = tileStart(job.rows, tiles, i), rows = tileStart(job.rows, tiles, i + 1) - begin;
    (i == 0 ? kFirst : kLater)[rows - 1](job, job.tiles + begin * kBlocks * kRow * job.superblocks, begin);
  }
}

inline std::uint32_t amaxBits(__m512 v) {
  return _mm512_reduce_max_epu32(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)));
}

// Digits of a block: q = upper * 2^16 + middle * 2^8 + lower, all signed bytes.
inline void packBlock(const float* a, int row, std::int64_t rows, std::int64_t r, std::uint8_t* out) {
  const __m512 v = _mm512_loadu_ps(a);
  const int e = blockExponent(amaxBits(v), row);
  const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, _mm512_set1_ps(quantizingFactor(e))));
  const __m512i half = _mm512_set1_epi32(128);
  const __m512i middle = _mm512_srai_epi32(_mm512_add_epi32(q, half), 8);
  const __m512i upper = _mm512_srai_epi32(_mm512_add_epi32(middle, half), 8);
  __m128i* digits = reinterpret_cast<__m128i*>(out + r * kDigits);
  _mm_storeu_si128(digits, _mm512_cvtepi32_epi8(upper));
  _mm_storeu_si128(digits + 1, _mm512_cvtepi32_epi8(middle));
  _mm_storeu_si128(digits + 2, _mm512_cvtepi32_epi8(q));
  const std::int32_t start = -12 * _mm512_reduce_add_epi32(q);
  const float factor = powerOfTwo(e - row + 120);
  std::memcpy(out + rows * kDigits + r * 4, &start, 4);
  std::memcpy(out + rows * (kDigits + 4) + r * 4, &factor, 4);
}

void packTile(const float* a, std::int64_t k, std::int64_t rows, std::int64_t, std::uint8_t* tile, float* rowFactor) {
  const std::int64_t padded = (k + kSuperblock - 1) / kSuperblock * kSuperblock;
  for (std::int64_t r = 0; r < rows; r++, a += k) {
    __m512i most = _mm512_setzero_si512();
    for (std::int64_t i = 0; i < k; i += 16)
      most = _mm512_max_epi32(
          most, _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(a + i)), _mm512_set1_epi32(0x7fffffff)));
    const std::uint32_t bits = _mm512_reduce_max_epu32(most);
    const bool finite = bits < kNotFinite;
    const int row = rowExponent(bits);
    rowFactor[r] = finite ? rowFactorOf(row) : std::numeric_limits<float>::quiet_NaN();
    const float zeros[16] = {};
    for (std::int64_t i = 0; i < padded; i += 16)
      packBlock(finite && i < k ? a + i : zeros, finite ? row : kLeastExponent, rows, r, tile + i / 16 * rows * kRow);
  }
}

std::int64_t scratch(std::int64_t, std::int64_t) { return 0; }

}  // namespace

extern const W4A16Kernels kW4A16 = {kBlocks * kRow, scratch, packTile, panel};

}  // namespace megamoe::gemm::avx512
