#include "scan.h"

#include "../simd/scan.h"
#include "lanes.h"

namespace megamoe::gemm::avx512 {

const ScanKernels kScan = {simd::argmax<F32>, simd::top<F32>, simd::atLeast<F32>};

}  // namespace megamoe::gemm::avx512
