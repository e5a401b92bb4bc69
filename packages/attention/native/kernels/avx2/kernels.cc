// The kernels of ../simd with AVX2 and FMA. Compiled with their flags.
#include "../operations.h"
#include "../simd/kernels.h"
#include "lanes.h"

namespace megamoe::attention::avx2 {

namespace {

constexpr RangeKernels kKernels = simd::rangeKernels<F32>();

}  // namespace

KernelTable table() { return tableOf<kKernels>(); }

}  // namespace megamoe::attention::avx2
