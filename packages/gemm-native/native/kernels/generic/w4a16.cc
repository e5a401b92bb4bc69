// W4A16 by the rule of block_integers.h. An integer q is kept as two floats, high * 2^11 + low: their sums of 16
// products are exact, and high * 2^11 + low rounds once, to float32(dot).
#include <cmath>
#include <limits>

#include "../nvfp4/block_integers.h"
#include "lanes.h"
#include "nvfp4.h"

namespace megamoe::gemm::generic {

namespace {

struct Block {
  float high[kBlockK], low[kBlockK];
  float factor;  // 2^(E - R)
};

std::int64_t scratch(std::int64_t, std::int64_t) { return 0; }

std::uint32_t amaxBits(const float* a, std::int64_t n) {
  std::uint32_t most = 0;
  for (std::int64_t i = 0; i < n; i++) {
    const std::uint32_t bits = floatToBits(a[i]) & kMagnitude;
    most = bits > most ? bits : most;
  }
  return most;
}

void packBlock(const float* a, int row, Block& out) {
  const int e = blockExponent(amaxBits(a, kBlockK), row);
  const float up = quantizingFactor(e);
  for (int i = 0; i < kBlockK; i++) {
    const float q = std::nearbyint(a[i] * up);
    out.high[i] = std::nearbyint(q * 0x1p-11f);
    out.low[i] = q - out.high[i] * 0x1p11f;
  }
  out.factor = powerOfTwo(e - row);
}

void packTile(const float* a, std::int64_t k, std::int64_t rows, std::int64_t, std::uint8_t* tile, float* rowFactor) {
  const std::int64_t blocks = k / kBlockK, padded = (blocks + kBlocks - 1) / kBlocks * kBlocks;
  Block* out = reinterpret_cast<Block*>(tile);
  for (std::int64_t r = 0; r < rows; r++, a += k) {
    const std::uint32_t most = amaxBits(a, k);
    const bool finite = most < kNotFinite;
    const int row = rowExponent(most);
    rowFactor[r] = finite ? rowFactorOf(row) : std::numeric_limits<float>::quiet_NaN();
    for (std::int64_t b = 0; b < padded; b++) {
      Block& block = out[b * rows + r];
      if (finite && b < blocks)
        packBlock(a + b * kBlockK, row, block);
      else
        block = {};
    }
  }
}

inline void addBlock(const Block& row, const float (*w)[kCols], const float* sb, float* acc) {
  for (int v = 0; v < kCols; v += 8) {
    F32x4 high[2] = {}, low[2] = {};
    for (int i = 0; i < kBlockK; i++) {
      const F32x4 h = splat(row.high[i]), l = splat(row.low[i]);
      for (int j = 0; j < 2; j++) {
        const F32x4 wv = loadLanes<F32x4>(w[i] + v + 4 * j);
        high[j] += wv * h;
        low[j] += wv * l;
      }
    }
    for (int j = 0; j < 2; j++) {
      const F32x4 t = high[j] * splat(0x1p11f) + low[j];
      const F32x4 p = loadLanes<F32x4>(sb + v + 4 * j) * splat(row.factor);
      storeLanes(acc + v + 4 * j, loadLanes<F32x4>(acc + v + 4 * j) + t * p);
    }
  }
}

void panel(const PanelJob& job) {
  const std::int64_t tiles = tileCount(job.rows);
  const Block* rows = reinterpret_cast<const Block*>(job.tiles);
  for (std::int64_t i = 0; i < tiles; i++) {
    const std::int64_t begin = tileStart(job.rows, tiles, i), count = tileStart(job.rows, tiles, i + 1) - begin;
    const Block* a = rows + begin * kBlocks * job.superblocks;
    alignas(64) float acc[kTileRows][kCols] = {};
    for (std::int64_t b = 0; b < job.superblocks * kBlocks; b++, a += count) {
      const std::uint8_t* superblock = job.panel + b / kBlocks * kSuperblockBytes;
      alignas(64) float w[kBlockK][kCols], sb[kCols];
      decodeCodes(superblock, static_cast<int>(b % kBlocks), w);
      decodeScales(superblock, static_cast<int>(b % kBlocks), 1.f, sb);
      for (std::int64_t r = 0; r < count; r++) addBlock(a[r], w, sb, acc[r]);
    }
    for (std::int64_t r = 0; r < count; r++) storeRow(job.out, begin + r, acc[r]);
  }
}

}  // namespace

const W4A16Kernels kW4A16 = {kBlocks * sizeof(Block), scratch, packTile, panel};

}  // namespace megamoe::gemm::generic
