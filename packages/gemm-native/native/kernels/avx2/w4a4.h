#pragma once

#include "../nvfp4/kernels.h"

namespace megamoe::gemm::avx2 {

extern const nvfp4::W4A4Kernels kW4A4;

}  // namespace megamoe::gemm::avx2
