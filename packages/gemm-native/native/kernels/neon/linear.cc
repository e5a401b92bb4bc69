#include "../simd/dense.h"

#include "neon.h"
#include "lanes.h"

namespace megamoe::gemm::neon {

void linear(const LinearParams& p, int threads) { simd::linear<F32>(p, threads); }

void groupedDense(const GroupedA16Params& p, int threads) { simd::groupedDense<F32>(p, threads); }

}  // namespace megamoe::gemm::neon
