// The scalar part of hyper-connections, a handful of numbers per token, for all instruction sets: what is made of the
// mixes.
#pragma once

#include <cstdint>

#include "params.h"

namespace megamoe::gemm {

// pre [hc] of one token from its mixes [hc].. (without the rms factor, which is applied here).
void hcPreWeights(const HyperParams& p, const double* mix, double factor, double* pre);

// post and comb of token t from its mixes [(2+hc)*hc].
void hcTokenWeights(const HcPreParams& p, std::int64_t t, const double* mix, double factor);

}  // namespace megamoe::gemm
