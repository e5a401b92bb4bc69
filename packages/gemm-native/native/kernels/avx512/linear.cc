#include "../simd/dense.h"

#include "avx512.h"
#include "lanes.h"
#include "pairs.h"

namespace megamoe::gemm::avx512 {

void setDense(KernelTable& t) { simd::setDense<F32, Pairs>(t); }

}  // namespace megamoe::gemm::avx512
