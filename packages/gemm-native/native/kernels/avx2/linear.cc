#include "../simd/dense.h"

#include "avx2.h"
#include "lanes.h"

namespace megamoe::gemm::avx2 {

void setDense(KernelTable& t) { simd::setDense<F32>(t); }

}  // namespace megamoe::gemm::avx2
