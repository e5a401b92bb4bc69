// Arguments of the kernels, a type for each operation (see kernel_table.h). Every pointer says its shape; nothing is
// checked here. No kernel knows of Node.
#pragma once

#include <cstdint>

#include "weight.h"

namespace megamoe::gemm {

struct LinearParams {  // out[m, g*N + n] = sum_k x[m, g*K + k] * w[g][n, k]
  const Weight* w;     // f32, bf16 or fp8, matrices = groups
  const float* x;      // [M, groups*K]
  std::int64_t m;
  float* out;  // [M, groups*N]
};

struct LinearBf16Params : LinearParams {};  // the same with activations rounded to BF16

struct LinearNvfp4Params {  // the same for nvfp4
  const Weight* w;
  std::int64_t parts;  // alpha[g*parts + part]; part of column c of a group is c*parts/N
  const float* alpha;  // [groups*parts]
  float inputScale;    // of W4A4; 0: each row's own
  const float* x;      // [M, groups*K]
  std::int64_t m;
  float* out;  // [M, groups*N]
};

struct GroupedParams {                // rows of A grouped by expert
  const Weight* w;                    // matrices = experts
  std::int64_t parts;                 // alpha[e*parts + part]; part of column c is c*parts/N
  const std::int32_t* expertOffsets;  // [E] cumulative ends
  const float* alpha;                 // [E*parts]; null for f32 and bf16 weights
  float* out;                         // [R, N]
};

struct GroupedW4A4Params : GroupedParams {
  const std::uint8_t* aCodes;  // [R, K/2]
  const std::uint8_t* aSf;     // [R, K/16] linear E4M3, no NaN, none negative
  const float* rowScale;       // [R] or null
};

struct GroupedA16Params : GroupedParams {
  const float* a;  // [R, K]
};

struct GroupedW4A16Params : GroupedA16Params {};      // nvfp4 weights
struct GroupedBf16Params : GroupedA16Params {};       // nvfp4 weights, activations rounded to BF16
struct GroupedDenseParams : GroupedA16Params {};      // f32, bf16 and fp8 weights
struct GroupedDenseBf16Params : GroupedA16Params {};  // the same, activations rounded to BF16

struct GatherParams {  // out[r] = x[slotToken[r]]
  const float* x;      // [T, D]
  std::int64_t d;
  const std::int32_t* slotToken;  // [rows]
  std::int64_t rows;
  float* out;  // [rows, D]
};

struct StageParams {
  const float* x;  // [T, K]
  std::int64_t k;
  const std::int32_t* slotToken;      // [R], or null for the identity
  std::int64_t rows;                  // R
  const std::int32_t* expertOffsets;  // [E] cumulative ends; unused when rowScale is given
  std::int64_t experts;
  const float* globalDecodeScale;  // [E]; unused when rowScale is given
  float* rowScale;                 // [R] out: each row's own scale; null for static scales
  std::uint8_t* codes;             // [R, K/2]
  std::uint8_t* sf;                // [R, K/16]
  float swigluLimit;  // 0: x is staged. Above 0: x is [R, 2K], gate first, slotToken is null, and the SwiGLU of a row
                      // is staged
};

struct SwigluParams {
  const float* gateUp;  // [M, 2I], gate first
  std::int64_t m, i;
  float limit;
  float* out;  // [M, I]
};

struct ScatterParams {  // out[t] = sum_j topkWeights[t, j] * y[tokenSlots[t, j]]
  const float* y;       // [R, D]
  std::int64_t d;
  const std::int32_t* tokenSlots;  // [T, topk], -1 for none
  const float* topkWeights;        // [T, topk]
  std::int64_t t, topk;
  float* out;  // [T, D]
};

struct AddParams {
  float* out;      // [n]
  const float* x;  // [n]
  std::int64_t n;
};

struct RmsNormParams {
  const float* x;  // [M, D]
  std::int64_t m, d;
  const float* weight;  // [D] or null
  double eps;
  float* out;  // [M, D], may be x
};

struct EmbedParams {
  const Weight* w;          // f32, bf16 or fp8, one matrix
  const std::int32_t* ids;  // [T]
  std::int64_t t, repeat;
  float* out;  // [T, repeat, K]
};

struct HyperParams {
  const float* streams;  // [T, hc, D]
  std::int64_t t, hc, d;
  const float* fn;     // [mixes, hc*D]
  const float* base;   // [mixes]
  const float* scale;  // [3], or [1] for the head
  double rmsNormEps, hcEps;
};

struct HcPreParams : HyperParams {  // mixes = (2+hc)*hc
  int iters;
  float* post;       // [T, hc]
  float* comb;       // [T, hc, hc], [j, k]
  float* collapsed;  // [T, D]
};

struct HcHeadParams : HyperParams {  // mixes = hc
  float* out;                        // [T, D]
};

struct HcPostParams {
  float* streams;         // [T, hc, D], in place
  const float* blockOut;  // [T, D]
  std::int64_t t, hc, d;
  const float* post;  // [T, hc]
  const float* comb;  // [T, hc, hc]
};

constexpr std::int64_t kMaxHc = 16;

}  // namespace megamoe::gemm
