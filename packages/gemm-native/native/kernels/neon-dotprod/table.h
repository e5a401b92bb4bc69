// Kernels for 64-bit Arm processors with FEAT_DotProd.
#pragma once

#include "../dispatch.h"

namespace megamoe::gemm::neon_dotprod {

extern const KernelTable kTable;

}  // namespace megamoe::gemm::neon_dotprod
