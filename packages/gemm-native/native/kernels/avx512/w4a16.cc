// W4A16 by the rule of block_integers.h. The integers of a block are three signed bytes each, so that vpdpbusd multiplies them: an
// integer dot product is 12 instructions for 256 products, where float32 would need 16 and as many conversions of weights.
//
// A packed row holds, for each block, the three bytes of its 16 integers (the upper ones first), -12 times their sum for the 12 of the
// unsigned weights, and 2^(E - R) times 2^120 for the weight scale's 2^-120.
#include <limits>

#include "../nvfp4/block_integers.h"
#include "nvfp4.h"
#include "w4a16.h"

namespace megamoe::gemm::avx512 {

namespace {

constexpr std::int64_t kRow = 56;  // bytes of a packed row in a block
constexpr std::int64_t kDigits = 48;
constexpr std::int64_t kCodes = 128;  // where the codes of a superblock begin

struct Weights {
  __m512i step[4];
};

// The exact integer dot product, Horner's rule over the digits.
inline __m512i dot(const Weights& w, const std::uint8_t* digits, __m512i start) {
  __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 3
  for (int d = 0; d < 3; d++) {
    if (d > 0) sum = _mm512_slli_epi32(sum, 8);
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) sum = _mm512_dpbusd_epi32(sum, w.step[g], lanes(digits + d * 16 + g * 4));
  }
  return _mm512_add_epi32(sum, start);
}

// Two roundings, not a fused one: the product of t and the scale is not exact.
inline __m512 add(__m512 acc, __m512i integer, __m512 scale) {
  return _mm512_add_ps(acc, _mm512_mul_ps(_mm512_cvtepi32_ps(integer), scale));
}

template <int Rows>
inline void addRows(const std::uint8_t* tile, const Weights& left, const Weights& right, __m512 scale0, __m512 scale1,
                    __m512 (*acc)[2]) {
#pragma GCC unroll 8
  for (int r = 0; r < Rows; r++) {
    const __m512i start = lanes(tile + Rows * kDigits + r * 4);
    const __m512 factor = floatLanes(tile + Rows * (kDigits + 4) + r * 4);
    acc[r][0] = add(acc[r][0], dot(left, tile + r * kDigits, start), _mm512_mul_ps(scale0, factor));
    acc[r][1] = add(acc[r][1], dot(right, tile + r * kDigits, start), _mm512_mul_ps(scale1, factor));
  }
}

// One row: the next superblock is loaded while this one is used, as in w4a4.cc.
struct Stream {
  __m512i table, codes[16];
  __m512 acc[1][2];

  Weights decode(int i) const {
    return {{decodeLow(codes[i], table), decodeHigh(codes[i], table), decodeLow(codes[i + 1], table), decodeHigh(codes[i + 1], table)}};
  }

  template <int B>
  void block(const std::uint8_t* tile, const std::uint8_t* next, __m512i s0, __m512i s1) {
    const Weights left = decode(B * 4), right = decode(B * 4 + 2);
    for (int i = 0; i < 4; i++) codes[B * 4 + i] = load(next + kCodes + (B * 4 + i) * 64);
    addRows<1>(tile + B * kRow, left, right, scales<B>(s0), scales<B>(s1), acc);
  }
};

void streamRow(const PanelJob& job, const std::uint8_t* tile, std::int64_t row) {
  Stream s;
  s.table = loadCodeTable();
  const std::uint8_t* w = job.panel;
  __m512i next0 = load(w), next1 = load(w + 64);
  for (int i = 0; i < 16; i++) s.codes[i] = load(w + kCodes + i * 64);
  s.acc[0][0] = s.acc[0][1] = _mm512_setzero_ps();
  for (std::int64_t b = 0; b < job.superblocks; b++, tile += kBlocks * kRow) {
    w += kSuperblockBytes;
    const __m512i s0 = next0, s1 = next1;
    next0 = load(w);
    next1 = load(w + 64);
    s.block<0>(tile, w, s0, s1);
    s.block<1>(tile, w, s0, s1);
    s.block<2>(tile, w, s0, s1);
    s.block<3>(tile, w, s0, s1);
  }
  storeRow(job.out, row, s.acc[0][0], s.acc[0][1], 1.f);
}

template <int Rows>
void computeTile(const PanelJob& job, const std::uint8_t* tile, std::int64_t row) {
  const __m512i table = loadCodeTable();
  __m512 acc[Rows][2];
  for (int r = 0; r < Rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  const std::uint8_t* w = job.panel;
  for (std::int64_t sb = 0; sb < job.superblocks; sb++, w += kSuperblockBytes) {
    for (int i = 0; i < kSuperblockBytes; i += 64)
      _mm_prefetch(reinterpret_cast<const char*>(w + 2 * kSuperblockBytes + i), _MM_HINT_T0);
    const __m512i line0 = load(w), line1 = load(w + 64);
#pragma GCC unroll 1
    for (int b = 0; b < kBlocks; b++, tile += Rows * kRow) {
      const std::uint8_t* c = w + kCodes + b * 256;
      const __m512i c0 = load(c), c1 = load(c + 64), c2 = load(c + 128), c3 = load(c + 192);
      const Weights left = {{decodeLow(c0, table), decodeHigh(c0, table), decodeLow(c1, table), decodeHigh(c1, table)}};
      const Weights right = {{decodeLow(c2, table), decodeHigh(c2, table), decodeLow(c3, table), decodeHigh(c3, table)}};
      addRows<Rows>(tile, left, right, scalesOf(line0, b), scalesOf(line1, b), acc);
    }
  }
  for (int r = 0; r < Rows; r++) storeRow(job.out, row + r, acc[r][0], acc[r][1], 1.f);
}

using Tile = void (*)(const PanelJob&, const std::uint8_t*, std::int64_t);
constexpr Tile kTile[kTileRows] = {streamRow,      computeTile<2>, computeTile<3>, computeTile<4>,
                                   computeTile<5>, computeTile<6>, computeTile<7>, computeTile<8>};

void panel(const PanelJob& job) {
  const std::int64_t tiles = tileCount(job.rows);
  for (std::int64_t i = 0; i < tiles; i++) {
    const std::int64_t begin = tileStart(job.rows, tiles, i), rows = tileStart(job.rows, tiles, i + 1) - begin;
    kTile[rows - 1](job, job.tiles + begin * kBlocks * kRow * job.superblocks, begin);
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
      most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(a + i)), _mm512_set1_epi32(0x7fffffff)));
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
