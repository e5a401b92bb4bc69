#pragma once

#include "../nvfp4/kernels.h"

namespace megamoe::gemm::avx2 {

extern const nvfp4::StageKernels kStage;

}  // namespace megamoe::gemm::avx2
