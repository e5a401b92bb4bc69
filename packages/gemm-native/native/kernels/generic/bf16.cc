// BF16 activations by the rule of bf16_rule.h, word by word.
#include <cmath>

#include "../nvfp4/bf16_rule.h"
#include "nvfp4.h"

namespace megamoe::gemm::generic {

namespace {

std::int64_t scratch(std::int64_t, std::int64_t) { return 0; }

// A packed row holds its K values, padded with zeros, as float32 in the rule's order.
void packTile(const float* a, std::int64_t k, std::int64_t rows, std::int64_t, std::uint8_t* tile, float* rowFactor) {
  const std::int64_t padded = (k + kSuperblock - 1) / kSuperblock * kSuperblock;
  float* out = reinterpret_cast<float*>(tile);
  for (std::int64_t r = 0; r < rows; r++, a += k, out += padded) {
    rowFactor[r] = 1.f;
    for (std::int64_t i = 0; i < padded; i++)
      out[i] = i < k ? bitsToFloat(activationBf16(a[i / 8 * 8 + kOrder[i % 8]]) << 16) : 0.f;
  }
}

void panel(const PanelJob& job) {
  const std::int64_t k = job.superblocks * kSuperblock;
  const float* rows = reinterpret_cast<const float*>(job.tiles);
  for (std::int64_t begin = 0; begin < job.rows; begin += kTileRows) {
    const std::int64_t count = job.rows - begin < kTileRows ? job.rows - begin : kTileRows;
    float acc[kTileRows][kCols] = {};
    for (std::int64_t b = 0; b < job.superblocks * kBlocks; b++) {
      const std::uint8_t* superblock = job.panel + b / kBlocks * kSuperblockBytes;
      float w[kBlockK][kCols], sb[kCols];
      decodeCodes(superblock, static_cast<int>(b % kBlocks), w);
      decodeScales(superblock, static_cast<int>(b % kBlocks), 0.5f, sb);  // codes are doubled
      for (std::int64_t r = 0; r < count; r++) {
        const float* a = rows + (begin + r) * k + b * kBlockK;
        for (int i = 0; i < kBlockK; i++)
          for (int c = 0; c < kCols; c++)
            acc[r][c] = std::fma(a[i], w[i / 8 * 8 + kOrder[i % 8]][c] * sb[c], acc[r][c]);
      }
    }
    for (std::int64_t r = 0; r < count; r++) storeRow(job.out, begin + r, acc[r]);
  }
}

}  // namespace

const Bf16Kernels kBf16 = {kSuperblock * sizeof(float), scratch, packTile, panel};

}  // namespace megamoe::gemm::generic
