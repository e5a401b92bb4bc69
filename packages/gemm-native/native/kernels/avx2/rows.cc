#include "../simd/rows.h"

#include "avx2.h"
#include "lanes.h"

namespace megamoe::gemm::avx2 {

void setRows(KernelTable& t) { simd::setRows<F32, F64>(t); }

}  // namespace megamoe::gemm::avx2
