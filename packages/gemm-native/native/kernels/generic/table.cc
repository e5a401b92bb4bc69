#include "generic.h"

#include "../rounded.h"
#include "scan.h"

namespace megamoe::gemm::generic {

namespace {

void linearBf16(const LinearParams& p, int threads) { linearRounded(linear, p, threads); }

void groupedDenseBf16(const GroupedA16Params& p, int threads) { groupedRounded(groupedDense, p, threads); }

}  // namespace

const KernelTable kTable = {
    "generic",  linear, linearBf16, groupedW4A4,    groupedW4A16, groupedBf16, groupedDense, groupedDenseBf16,
    gatherRows, stage,  swiglu,     scatterExperts, addInPlace,   rmsNorm,     embed,        hcPre,
    hcPost,     hcHead, &kScan,
};

}  // namespace megamoe::gemm::generic
