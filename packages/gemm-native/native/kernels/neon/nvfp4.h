// What the NVFP4 kernels of NEON share. Everything here is private to the file that includes it: one is compiled with
// flags.
//
// A vector is a group of 4 columns, an eighth of a panel. Weights and activations are doubled codes as signed bytes.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "../nvfp4/kernels.h"

namespace megamoe::gemm::neon {

namespace {

using namespace megamoe::gemm::nvfp4;

constexpr std::int64_t kCodes = 128;  // where the codes of a superblock begin
constexpr int kGroups = 8;            // of columns in a panel

inline int8x16_t doubledCodes() {
  constexpr std::int8_t values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  return vld1q_s8(values);
}

// Four steps of 4 k each of a block, for 4 columns.
struct Weights {
  int8x16_t step[4];
};

inline Weights decode(const std::uint8_t* superblock, int block, int group) {
  const std::uint8_t* line = superblock + kCodes + (block * 2 + group / 4) * 128 + group % 4 * 16;
  const uint8x16_t first = vld1q_u8(line), second = vld1q_u8(line + 64), nibble = vdupq_n_u8(15);
  const int8x16_t table = doubledCodes();
  return {{vqtbl1q_s8(table, vandq_u8(first, nibble)), vqtbl1q_s8(table, vshrq_n_u8(first, 4)),
           vqtbl1q_s8(table, vandq_u8(second, nibble)), vqtbl1q_s8(table, vshrq_n_u8(second, 4))}};
}

// Scales of block `block` times 2^-120: E4M3's exponent and mantissa moved to float32's places, subnormals included.
inline float32x4_t scales(const std::uint8_t* superblock, int block, int group) {
  const uint32x4_t line = vreinterpretq_u32_u8(vld1q_u8(superblock + group * 16));
  const uint32x4_t moved = vshlq_u32(line, vdupq_n_s32(20 - 8 * block));  // to the right when negative
  return vreinterpretq_f32_u32(vandq_u32(moved, vdupq_n_u32(0x07f00000)));
}

// p, as if it were another place: what a group of columns reads of the rows is then read again by the next, from the
// first-level cache, instead of being kept in registers that are not there.
inline const std::uint8_t* again(const std::uint8_t* p) {
  __asm__("" : "+r"(p));
  return p;
}

inline float floatAt(const std::uint8_t* p) {
  float v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Writes 4 columns of one row: alpha * (acc * factor * rowFactor), then * rowScale. The factors are powers of two,
// their products exact.
inline void storeColumns(const PanelOut& o, std::int64_t row, int group, float32x4_t acc, float factor) {
  const int columns = o.columns - group * 4;
  if (columns <= 0) return;
  const float f = o.rowFactor == nullptr ? factor : factor * o.rowFactor[row];
  float32x4_t v = vmulq_f32(vld1q_f32(o.alpha + group * 4), vmulq_n_f32(acc, f));
  if (o.rowScale != nullptr) v = vmulq_n_f32(v, o.rowScale[row]);
  float* out = o.out + row * o.stride + group * 4;
  if (columns >= 4) return vst1q_f32(out, v);
  float values[4];
  vst1q_f32(values, v);
  for (int c = 0; c < columns; c++) out[c] = values[c];
}

// All groups of columns of a tile of `rows` rows through Tile<rows, groups>::run(args..., firstGroup): as many groups
// at a time as keep the sums in 16 registers.
template <template <int, int> class Tile, class... Args>
static void eachGroup(std::int64_t rows, Args... args) {
  if (rows == 1) return Tile<1, 8>::run(args..., 0);
  for (int group = 0; group < kGroups; group += (rows > 4 ? 2 : 4)) switch (rows) {
      case 2: Tile<2, 4>::run(args..., group); break;
      case 3: Tile<3, 4>::run(args..., group); break;
      case 4: Tile<4, 4>::run(args..., group); break;
      case 5: Tile<5, 2>::run(args..., group); break;
      case 6: Tile<6, 2>::run(args..., group); break;
      case 7: Tile<7, 2>::run(args..., group); break;
      default: Tile<8, 2>::run(args..., group);
    }
}

// All tiles of a panel through Tile<rows, groups>::run(job, tile, row, firstGroup).
template <template <int, int> class Tile>
static void eachTile(const PanelJob& job, std::int64_t rowBytes) {
  const std::int64_t tiles = tileCount(job.rows);
  for (std::int64_t i = 0; i < tiles; i++) {
    const std::int64_t row = tileStart(job.rows, tiles, i), rows = tileStart(job.rows, tiles, i + 1) - row;
    eachGroup<Tile, const PanelJob&, const std::uint8_t*, std::int64_t>(
        rows, job, job.tiles + row * rowBytes * job.superblocks, row);
  }
}

}  // namespace

}  // namespace megamoe::gemm::neon
