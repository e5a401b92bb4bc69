// The kernels of ../simd with AVX-512 F, BW, DQ and VL. Compiled with their flags.
#include "../operations.h"
#include "../simd/kernels.h"
#include "lanes.h"

namespace megamoe::attention::avx512 {

namespace {

constexpr RangeKernels kKernels = simd::rangeKernels<F32>();

}  // namespace

KernelTable table() { return tableOf<kKernels>(); }

}  // namespace megamoe::attention::avx512
