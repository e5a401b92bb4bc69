#pragma once

#include "../nvfp4/kernels.h"

namespace megamoe::gemm::avx2 {

extern const nvfp4::W4A16Kernels kBf16;

}  // namespace megamoe::gemm::avx2
