#include "../simd/dense.h"

#include "neon.h"
#include "lanes.h"

namespace megamoe::gemm::neon {

void setDense(KernelTable& t) { simd::setDense<F32>(t); }

}  // namespace megamoe::gemm::neon
