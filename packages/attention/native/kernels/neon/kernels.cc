// The kernels of ../simd with NEON, which every 64-bit Arm processor has: no flags.
#include "../operations.h"
#include "../simd/kernels.h"
#include "lanes.h"

namespace megamoe::attention::neon {

namespace {

constexpr RangeKernels kKernels = simd::rangeKernels<F32>();

}  // namespace

KernelTable table() { return tableOf<kKernels>(); }

}  // namespace megamoe::attention::neon
