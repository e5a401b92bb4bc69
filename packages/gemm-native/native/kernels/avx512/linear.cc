#include "../simd/dense.h"

#include "avx512.h"
#include "lanes.h"

namespace megamoe::gemm::avx512 {

void linear(const LinearParams& p, int threads) { simd::linear<F32>(p, threads); }

void groupedDense(const GroupedA16Params& p, int threads) { simd::groupedDense<F32>(p, threads); }

}  // namespace megamoe::gemm::avx512
