#include "generic.h"
#include "scan.h"

namespace megamoe::gemm::generic {

const KernelTable kTable = {
    "generic",
    linear,
    groupedW4A4,
    groupedW4A16,
    groupedBf16,
    groupedDense,
    gatherRows,
    stage,
    swiglu,
    scatterExperts,
    addInPlace,
    rmsNorm,
    embed,
    hcPre,
    hcPost,
    hcHead,
    &kScan,
};

}  // namespace megamoe::gemm::generic
