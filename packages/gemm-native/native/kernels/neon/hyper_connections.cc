#include "../simd/hyper_connections.h"

#include "neon.h"
#include "lanes.h"

namespace megamoe::gemm::neon {

void hcPre(const HcPreParams& p, int threads) { simd::hcPre<F64>(p, threads); }

void hcPost(const HcPostParams& p, int threads) { simd::hcPost<F64>(p, threads); }

void hcHead(const HcHeadParams& p, int threads) { simd::hcHead<F64>(p, threads); }

}  // namespace megamoe::gemm::neon
