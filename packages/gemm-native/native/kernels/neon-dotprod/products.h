#pragma once

#include "../nvfp4/kernels.h"

namespace megamoe::gemm::neon_dotprod {

extern const nvfp4::W4A4Kernels kW4A4;
extern const nvfp4::W4A16Kernels kW4A16;

}  // namespace megamoe::gemm::neon_dotprod
