#include "../simd/dense.h"

#include "avx2.h"
#include "lanes.h"

namespace megamoe::gemm::avx2 {

void linear(const LinearParams& p, int threads) { simd::linear<F32>(p, threads); }

void groupedDense(const GroupedA16Params& p, int threads) { simd::groupedDense<F32>(p, threads); }

}  // namespace megamoe::gemm::avx2
