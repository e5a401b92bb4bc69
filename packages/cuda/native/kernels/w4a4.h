// Grouped products of quantized rows with NVFP4 weights, bit for bit the contract's (docs/numerics.md N4):
// acc = acc + f32(dot16 * sa * sb) over ascending blocks, then out = f32(alpha * acc), then f32(out * rowScale). Only
// who asks for W4A4Math::fast gets other bits.
#pragma once

#include "jobs.h"
#include "w4a4_dispatch.h"
#include "weight.h"

namespace megamoe::cuda {

struct W4A4Params {
  Weight w;                   // nvfp4 or packed, an expert a matrix
  const std::uint8_t* codes;  // [R, K/2]
  const std::uint8_t* sf;     // [R, K/16]
  const float* rowScale;      // [R] or null
  const float* alpha;         // [experts*parts]
  std::int64_t parts;
  float* out;  // [R, N]
  // Where row r of the product goes: out row r, or with `groups` above 1 (a dense linear, whose groups are experts of
  // `m` rows) row r % m, group r / m of [m, groups, N].
  std::int64_t groups, m;
};

// On tensor cores, for packed weights: one instruction of k16 with a zero accumulator gives the exact sum of a block,
// and one fused multiply-add with the weight's scale does the contract's only rounding. `ends` [experts] says whose
// rows they are.
//
// fast: weights and rows are multiplied by their scales before (halves hold that exactly: 12 bits of product, 2^-14 of
// its value, so between 2^-34 and 2^9), and the tensor core adds blocks to the sum that it keeps. It aligns what it
// adds to the largest and cuts, each term below its 24th bit: an instruction adds up to 17 terms in one go, or on older
// GPUs 9 in each of two, and cuts the sums, at most 20 cuts of 2^-23 of the magnitudes of what it adds. In ascending
// order with the same operands in every shape: the bits do not depend on tile and company either.
void w4a4Tiles(const Launch& l, const W4A4Params& p, const W4A4Choice& choice, W4A4Math math, const std::int32_t* ends,
               std::int64_t slots);

// Word by word, with scalar instructions: any shape. What the fast kernels are compared with.
void w4a4Plain(const Launch& l, const W4A4Params& p, const Job* jobs, std::int64_t mostJobs);

// Rows that a job of w4a4Plain may have.
constexpr int kPlainJobRows = 8;

}  // namespace megamoe::cuda
