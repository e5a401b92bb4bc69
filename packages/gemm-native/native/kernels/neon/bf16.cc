// BF16 activations by the rule of bf16_rule.h, by float32 multiply-adds: BF16 numbers are float32 numbers. Weights are
// decoded, exactly, for two superblocks at a time that stay in the first-level cache while all rows pass.
#include "../nvfp4/bf16_rule.h"
#include "neon.h"
#include "nvfp4.h"

namespace megamoe::gemm::neon {

namespace {

constexpr std::int64_t kDepth = 2;
constexpr std::int64_t kPrepared = kDepth * kSuperblock * kColumns * 4;  // [k in the rule's order][column] float32
constexpr std::int64_t kRowBytes = kSuperblock * 4;

// Byte j of each lane, with its sign, as float32.
inline float32x4_t byteOf(int8x16_t v, int j) {
  return vcvtq_f32_s32(vshrq_n_s32(vshlq_s32(vreinterpretq_s32_s8(v), vdupq_n_s32(24 - 8 * j)), 24));
}

void prepare(const std::uint8_t* w, std::int64_t superblocks, float* out) {
  for (std::int64_t sb = 0; sb < superblocks; sb++, w += kSuperblockBytes)
    for (int b = 0; b < kBlocks; b++)
      for (int group = 0; group < kGroups; group++) {
        const Weights codes = decode(w, b, group);
        const float32x4_t scale = vmulq_n_f32(scales(w, b, group), 0x1p119f);  // codes are doubled
        float* lines = out + (sb * kBlocks + b) * 16 * kColumns + group * 4;
#pragma GCC unroll 2
        for (int z = 0; z < 2; z++)
#pragma GCC unroll 8
          for (int i = 0; i < 8; i++)
            vst1q_f32(lines + (z * 8 + i) * kColumns,
                      vmulq_f32(byteOf(codes.step[2 * z + kOrder[i] / 4], kOrder[i] % 4), scale));
      }
}

// `depth` k of Groups groups of columns, added to sums.
template <int Rows, int Groups>
struct Tile {
  static void run(const float* w, std::int64_t depth, const std::uint8_t* a, float* sums, int first) {
    float32x4_t acc[Rows][Groups];
    for (int r = 0; r < Rows; r++)
      for (int g = 0; g < Groups; g++) acc[r][g] = vld1q_f32(sums + r * kColumns + (first + g) * 4);
    for (std::int64_t i = 0; i < depth; i++, a += Rows * 4) {
      float32x4_t v[Groups];
      for (int g = 0; g < Groups; g++) v[g] = vld1q_f32(w + i * kColumns + (first + g) * 4);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; r++)
        for (int g = 0; g < Groups; g++) acc[r][g] = vfmaq_n_f32(acc[r][g], v[g], floatAt(a + r * 4));
    }
    for (int r = 0; r < Rows; r++)
      for (int g = 0; g < Groups; g++) vst1q_f32(sums + r * kColumns + (first + g) * 4, acc[r][g]);
  }
};

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
      eachGroup<Tile>(rows, static_cast<const float*>(weights), depth * kSuperblock, a, sums + begin * kColumns);
    }
  }
  for (std::int64_t r = 0; r < job.rows; r++)
    for (int group = 0; group < kGroups; group++)
      storeColumns(job.out, r, group, vld1q_f32(sums + r * kColumns + group * 4), 1.f);
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

}  // namespace megamoe::gemm::neon
