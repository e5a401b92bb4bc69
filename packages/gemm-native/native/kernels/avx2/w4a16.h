#pragma once

#include "../nvfp4/kernels.h"

namespace megamoe::gemm::avx2 {

extern const nvfp4::W4A16Kernels kW4A16;

}  // namespace megamoe::gemm::avx2
