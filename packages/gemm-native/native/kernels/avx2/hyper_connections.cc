#include "../simd/hyper_connections.h"

#include "avx2.h"
#include "lanes.h"

namespace megamoe::gemm::avx2 {

void setHyperConnections(KernelTable& t) { simd::setHyperConnections<F64>(t); }

}  // namespace megamoe::gemm::avx2
