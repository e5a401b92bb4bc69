#pragma once

#include "../scan.h"

namespace megamoe::gemm::avx2 {

extern const ScanKernels kScan;

}  // namespace megamoe::gemm::avx2
