#include "../x86/rows.h"

#include "avx2.h"
#include "lanes.h"

namespace megamoe::gemm::avx2 {

void swiglu(const SwigluParams& p, int threads) { x86::swiglu<F64>(p, threads); }

void scatterExperts(const ScatterParams& p, int threads) { x86::scatterExperts<F32>(p, threads); }

void addInPlace(const AddParams& p, int threads) { x86::addInPlace<F32>(p, threads); }

void rmsNorm(const RmsNormParams& p, int threads) { x86::rmsNorm<F32, F64>(p, threads); }

}  // namespace megamoe::gemm::avx2
