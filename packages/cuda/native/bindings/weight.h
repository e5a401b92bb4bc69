// Weights as arguments.
#pragma once

#include "../kernels/weight.h"
#include "call.h"

namespace megamoe::cuda {

constexpr std::size_t kWeightArguments = 6;

// format, matrices, n, k, data, scales
Weight weightArgument(Call& c);

}  // namespace megamoe::cuda
