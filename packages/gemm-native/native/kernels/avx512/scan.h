#pragma once

#include "../scan.h"

namespace megamoe::gemm::avx512 {

extern const ScanKernels kScan;

}  // namespace megamoe::gemm::avx512
