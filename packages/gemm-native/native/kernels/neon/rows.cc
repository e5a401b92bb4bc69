#include "../simd/rows.h"

#include "neon.h"
#include "lanes.h"

namespace megamoe::gemm::neon {

void swiglu(const SwigluParams& p, int threads) { simd::swiglu<F64>(p, threads); }

void scatterExperts(const ScatterParams& p, int threads) { simd::scatterExperts<F32>(p, threads); }

void addInPlace(const AddParams& p, int threads) { simd::addInPlace<F32>(p, threads); }

void rmsNorm(const RmsNormParams& p, int threads) { simd::rmsNorm<F32, F64>(p, threads); }

}  // namespace megamoe::gemm::neon
