// Compiled without instruction-set flags. What this set has no kernel for is generic's.
#include "avx512.h"

#include "../generic/generic.h"
#include "../nvfp4/grouped.h"
#include "w4a4.h"

namespace megamoe::gemm::avx512 {

namespace {

void groupedW4A4(const GroupedW4A4Params& p, int threads) { nvfp4::groupedW4A4(kW4A4, p, threads); }

}  // namespace

const KernelTable kTable = {
    "avx512",
    generic::linear,
    groupedW4A4,
    generic::groupedW4A16,
    generic::groupedDense,
    generic::gatherRows,
    generic::stage,
    generic::swiglu,
    generic::scatterExperts,
    generic::addInPlace,
    generic::rmsNorm,
    generic::embed,
    generic::hcPre,
    generic::hcPost,
    generic::hcHead,
};

}  // namespace megamoe::gemm::avx512
