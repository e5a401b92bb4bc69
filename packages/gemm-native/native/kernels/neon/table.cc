// What this set has no kernel for is generic's.
#include "../generic/generic.h"
#include "../nvfp4/grouped.h"
#include "../nvfp4/stage.h"
#include "../rounded.h"
#include "neon.h"

namespace megamoe::gemm::neon {

namespace {

void groupedW4A4(const GroupedW4A4Params& p, int threads) { nvfp4::groupedW4A4(kW4A4, p, threads); }

void groupedW4A16(const GroupedA16Params& p, int threads) { nvfp4::groupedW4A16(kW4A16, p, threads); }

void linearBf16(const LinearParams& p, int threads) { linearRounded(linear, p, threads); }

void groupedDenseBf16(const GroupedA16Params& p, int threads) { groupedRounded(groupedDense, p, threads); }

}  // namespace

void groupedBf16(const GroupedA16Params& p, int threads) { nvfp4::groupedW4A16(kBf16, p, threads); }

std::int64_t stage(const StageParams& p, int threads) { return nvfp4::stage(kStage, p, threads); }

const KernelTable kTable = {
    "neon",       linear,           linearBf16,          groupedW4A4, groupedW4A16, groupedBf16,
    groupedDense, groupedDenseBf16, generic::gatherRows, stage,       swiglu,       scatterExperts,
    addInPlace,   rmsNorm,          generic::embed,      hcPre,       hcPost,       hcHead,
    &kScan,
};

}  // namespace megamoe::gemm::neon
