#pragma once

#include "../scan.h"

namespace megamoe::gemm::generic {

extern const ScanKernels kScan;

}  // namespace megamoe::gemm::generic
