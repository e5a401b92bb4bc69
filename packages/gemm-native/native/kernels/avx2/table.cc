// Compiled without instruction-set flags. What this set has no kernel for is generic's.
#include "avx2.h"

#include "../generic/generic.h"

namespace megamoe::gemm::avx2 {

const KernelTable kTable = {
    "avx2",
    generic::linear,
    generic::groupedW4A4,
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

}  // namespace megamoe::gemm::avx2
