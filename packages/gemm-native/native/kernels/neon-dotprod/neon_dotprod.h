// Kernels for 64-bit Arm processors with FEAT_DotProd: those of NEON, but for the products that use sdot.
#pragma once

#include "../kernel_table.h"
#include "../nvfp4/kernels.h"

namespace megamoe::gemm::neon_dotprod {

KernelTable table();

extern const nvfp4::W4A4Kernels kW4A4;
extern const nvfp4::W4A16Kernels kW4A16;

}  // namespace megamoe::gemm::neon_dotprod
