// Products of BF16 activations with dense weights, for instruction sets that multiply float32: the activations are
// rounded first, by activationBf16 of nvfp4/bf16_rule.h, and then it is the float32 product.
#pragma once

#include "params.h"

namespace megamoe::gemm {

// n activations as their BF16 values, in the caller's scratch.
const float* roundedToBf16(const float* x, std::int64_t n, int threads);

// As entries of a table.
template <void (*linear)(const LinearParams&, int threads)>
static void linearRounded(const LinearBf16Params& p, int threads) {
  LinearParams q = p;
  q.x = roundedToBf16(p.x, p.m * p.w->matrices * p.w->k, threads);
  linear(q, threads);
}

template <void (*grouped)(const GroupedDenseParams&, int threads)>
static void groupedRounded(const GroupedDenseBf16Params& p, int threads) {
  GroupedDenseParams q{p};
  q.a = roundedToBf16(p.a, p.expertOffsets[p.w->matrices - 1] * p.w->k, threads);
  grouped(q, threads);
}

}  // namespace megamoe::gemm
