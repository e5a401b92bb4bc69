#include "../simd/rows.h"

#include "neon.h"
#include "lanes.h"

namespace megamoe::gemm::neon {

void setRows(KernelTable& t) { simd::setRows<F32, F64>(t); }

}  // namespace megamoe::gemm::neon
