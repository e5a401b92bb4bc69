#include "../simd/scan.h"

#include "neon.h"
#include "lanes.h"

namespace megamoe::gemm::neon {

void setScan(KernelTable& t) { simd::setScan<F32>(t); }

}  // namespace megamoe::gemm::neon
