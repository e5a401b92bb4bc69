#include "../simd/scan.h"

#include "lanes.h"
#include "neon.h"

namespace megamoe::gemm::neon {

extern const ScanKernels kScan = {simd::argmax<F32>, simd::top<F32>, simd::atLeast<F32>};

}  // namespace megamoe::gemm::neon
