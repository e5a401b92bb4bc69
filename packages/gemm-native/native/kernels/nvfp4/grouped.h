// Grouped products over experts with NVFP4 weights, for any instruction set's kernels.
#pragma once

#include "../params.h"
#include "kernels.h"

namespace megamoe::gemm::nvfp4 {

void groupedW4A4(const W4A4Kernels& kernels, const GroupedW4A4Params& p, int threads);
void groupedW4A16(const W4A16Kernels& kernels, const GroupedA16Params& p, int threads);

}  // namespace megamoe::gemm::nvfp4
