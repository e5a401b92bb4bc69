#include "../simd/dense.h"

#include "../rounded.h"
#include "avx512.h"
#include "lanes.h"
#include "pairs.h"

namespace megamoe::gemm::avx512 {

void linear(const LinearParams& p, int threads) { simd::linear<F32>(p, threads); }

void groupedDense(const GroupedA16Params& p, int threads) { simd::groupedDense<F32>(p, threads); }

// Float32 weights have no product of BF16 pairs.
void linearBf16(const LinearParams& p, int threads) {
  if (p.w->format == Format::f32)
    linearRounded(linear, p, threads);
  else
    simd::linear<Pairs>(p, threads);
}

void groupedDenseBf16(const GroupedA16Params& p, int threads) {
  if (p.w->format == Format::f32)
    groupedRounded(groupedDense, p, threads);
  else
    simd::groupedDense<Pairs>(p, threads);
}

}  // namespace megamoe::gemm::avx512
