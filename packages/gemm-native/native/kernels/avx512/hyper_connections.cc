#include "../simd/hyper_connections.h"

#include "avx512.h"
#include "lanes.h"

namespace megamoe::gemm::avx512 {

void setHyperConnections(KernelTable& t) { simd::setHyperConnections<F64>(t); }

}  // namespace megamoe::gemm::avx512
