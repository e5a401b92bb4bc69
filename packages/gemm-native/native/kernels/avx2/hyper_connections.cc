#include "../x86/hyper_connections.h"

#include "avx2.h"
#include "lanes.h"

namespace megamoe::gemm::avx2 {

void hcPre(const HcPreParams& p, int threads) { x86::hcPre<F64>(p, threads); }

void hcPost(const HcPostParams& p, int threads) { x86::hcPost<F64>(p, threads); }

void hcHead(const HcHeadParams& p, int threads) { x86::hcHead<F64>(p, threads); }

}  // namespace megamoe::gemm::avx2
