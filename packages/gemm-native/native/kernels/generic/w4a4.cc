// W4A4 word by word as docs/numerics.md N4 has it: integer dot products in 16-bit lanes, times the product of the
// scales, added.
#include <algorithm>

#include "lanes.h"
#include "nvfp4.h"

namespace megamoe::gemm::generic {

namespace {

// One block of a packed row.
struct Block {
  std::int16_t a[kBlockK];  // doubled codes
  float scale;
};

std::int64_t scratch(std::int64_t, std::int64_t) { return 0; }

void packTile(const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t rows, std::int64_t,
              std::uint8_t* tile) {
  const std::int64_t kSf = k / kBlockK, padded = (kSf + kBlocks - 1) / kBlocks * kBlocks;
  Block* out = reinterpret_cast<Block*>(tile);
  for (std::int64_t r = 0; r < rows; r++, codes += k / 2, sf += kSf)
    for (std::int64_t b = 0; b < padded; b++) {
      Block& block = out[b * rows + r];
      block = {};
      if (b >= kSf) continue;
      for (int i = 0; i < kBlockK / 2; i++) {
        block.a[2 * i] = kE2m1Doubled[codes[b * 8 + i] & 15];
        block.a[2 * i + 1] = kE2m1Doubled[codes[b * 8 + i] >> 4];
      }
      block.scale = decodeE4m3(sf[b]);
    }
}

// acc[32] += dot * sa * sb of one row and one block. |dot| <= 16 * 12 * 12 fits an int16 lane.
inline void addBlock(const Block& row, const std::int16_t (*w)[kCols], const float* sb, float* acc) {
  I16x8 dot[4] = {};
  for (int i = 0; i < kBlockK; i++) {
    const I16x8 av = splat16(row.a[i]);
    for (int v = 0; v < 4; v++) dot[v] += loadLanes<I16x8>(w[i] + 8 * v) * av;
  }
  std::int16_t lane[kCols];
  for (int v = 0; v < 4; v++) storeLanes(lane + 8 * v, dot[v]);
  for (int c = 0; c < kCols; c++) acc[c] += static_cast<float>(lane[c]) * (row.scale * sb[c]);
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
      alignas(64) std::int16_t w[kBlockK][kCols];
      alignas(64) float sb[kCols];
      decodeCodes(superblock, static_cast<int>(b % kBlocks), w);
      decodeScales(superblock, static_cast<int>(b % kBlocks), 0.25f, sb);  // two doubled operands
      for (std::int64_t r = 0; r < count; r++) addBlock(a[r], w, sb, acc[r]);
    }
    for (std::int64_t r = 0; r < count; r++) storeRow(job.out, begin + r, acc[r]);
  }
}

}  // namespace

const W4A4Kernels kW4A4 = {kBlocks * sizeof(Block), scratch, packTile, panel};

}  // namespace megamoe::gemm::generic
