#include "../simd/scan.h"

#include "avx2.h"
#include "lanes.h"

namespace megamoe::gemm::avx2 {

void setScan(KernelTable& t) { simd::setScan<F32>(t); }

}  // namespace megamoe::gemm::avx2
