#include "../simd/hyper_connections.h"

#include "neon.h"
#include "lanes.h"

namespace megamoe::gemm::neon {

void setHyperConnections(KernelTable& t) { simd::setHyperConnections<F64>(t); }

}  // namespace megamoe::gemm::neon
