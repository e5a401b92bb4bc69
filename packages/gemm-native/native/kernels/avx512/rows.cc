#include "../simd/rows.h"

#include "avx512.h"
#include "lanes.h"

namespace megamoe::gemm::avx512 {

void swiglu(const SwigluParams& p, int threads) { simd::swiglu<F64>(p, threads); }

void swigluRow(const float* gate, const float* up, std::int64_t n, float limit, float* out) {
  simd::swigluRow<F64>(gate, up, n, limit, out);
}

void scatterExperts(const ScatterParams& p, int threads) { simd::scatterExperts<F32>(p, threads); }

void addInPlace(const AddParams& p, int threads) { simd::addInPlace<F32>(p, threads); }

void rmsNorm(const RmsNormParams& p, int threads) { simd::rmsNorm<F32, F64>(p, threads); }

}  // namespace megamoe::gemm::avx512
