#include "../simd/scan.h"

#include "avx512.h"
#include "lanes.h"

namespace megamoe::gemm::avx512 {

void setScan(KernelTable& t) { simd::setScan<F32>(t); }

}  // namespace megamoe::gemm::avx512
