#include "scan.h"

#include "../x86/scan.h"
#include "lanes.h"

namespace megamoe::gemm::avx512 {

const ScanKernels kScan = {x86::argmax<F32>, x86::top<F32>, x86::atLeast<F32>};

}  // namespace megamoe::gemm::avx512
