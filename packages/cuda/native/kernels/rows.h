// Operations on rows. Every pointer is device memory and says its shape; nothing is checked here but indices, whose
// values the host does not see.
#pragma once

#include "weight.h"

namespace megamoe::cuda {

// out[i, r] = table[ids[i]], each row `repeat` times: [rows, repeat, table.k].
void embed(const Launch& l, const Weight& table, const std::int32_t* ids, std::int64_t rows, std::int64_t repeat,
           float* out);

// x * f32(1/sqrt(mean(x^2) + eps)) * weight; x, out [rows, d], weight [d] or null; out may be x. Sums in float64.
void rmsNorm(const Launch& l, const float* x, std::int64_t rows, std::int64_t d, const float* weight, double eps,
             float* out);

// silu(min(gate, limit)) * clamp(up, -limit, limit); gateUp [rows, 2*i], out [rows, i].
void swiglu(const Launch& l, const float* gateUp, std::int64_t rows, std::int64_t i, float limit, float* out);

// out += x, n elements.
void add(const Launch& l, float* out, const float* x, std::int64_t n);

// out[r] = x[index[r]], x [below, d].
void gatherRows(const Launch& l, const float* x, std::int64_t below, std::int64_t d, const std::int32_t* index,
                std::int64_t rows, float* out);

// out[t] = sum_j topkWeights[t, j] * y[tokenSlots[t, j]], j ascending; y [below, d]; slot -1 adds nothing.
void scatterExperts(const Launch& l, const float* y, std::int64_t below, std::int64_t d, const std::int32_t* tokenSlots,
                    const float* topkWeights, std::int64_t rows, std::int64_t topk, float* out);

}  // namespace megamoe::cuda
