#include "../simd/rows.h"

#include "avx512.h"
#include "lanes.h"

namespace megamoe::gemm::avx512 {

void setRows(KernelTable& t) { simd::setRows<F32, F64>(t); }

}  // namespace megamoe::gemm::avx512
