// Hyper-connections (docs/formats.md D10), in float64 but for their inputs and results.
#pragma once

#include "launch.h"

namespace megamoe::cuda {

constexpr int kMaxHc = 16;

struct HyperInput {
  const float* streams;  // [rows, hc, d]
  std::int64_t rows, hc, d;
  const float* fn;    // [mixes, hc*d]
  const float* base;  // [mixes]
  const float* gain;  // [3], or [1] for the head
  double rmsNormEps, hcEps;
};

// Bytes that the mixes of `rows` rows take while they are computed: (2+hc)*hc of them, or hc for the head.
std::int64_t hyperScratchBytes(std::int64_t rows, std::int64_t mixes);

// Before a block: post [rows, hc], comb [rows, hc, hc], collapsed [rows, d].
void hcPre(const Launch& l, const HyperInput& in, int iters, double* scratch, float* post, float* comb,
           float* collapsed);

// After a block, in place: streams[k] = post[k]*blockOut + sum_j comb[j, k]*streams[j].
void hcPost(const Launch& l, float* streams, const float* blockOut, std::int64_t rows, std::int64_t hc, std::int64_t d,
            const float* post, const float* comb);

// Before the head: out [rows, d].
void hcHead(const Launch& l, const HyperInput& in, double* scratch, float* out);

}  // namespace megamoe::cuda
