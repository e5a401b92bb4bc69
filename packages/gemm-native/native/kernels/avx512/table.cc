// Compiled without instruction-set flags. What this set has no kernel for is generic's.
#include "avx512.h"

#include "../generic/generic.h"
#include "../nvfp4/grouped.h"
#include "../nvfp4/stage.h"
#include "bf16.h"
#include "scan.h"
#include "stage.h"
#include "w4a16.h"
#include "w4a4.h"

namespace megamoe::gemm::avx512 {

namespace {

void groupedW4A4(const GroupedW4A4Params& p, int threads) { nvfp4::groupedW4A4(kW4A4, p, threads); }

void groupedW4A16(const GroupedA16Params& p, int threads) { nvfp4::groupedW4A16(kW4A16, p, threads); }

void groupedBf16(const GroupedA16Params& p, int threads) { nvfp4::groupedW4A16(kBf16, p, threads); }

std::int64_t stage(const StageParams& p, int threads) { return nvfp4::stage(kStage, p, threads); }

}  // namespace

const KernelTable kTable = {
    "avx512",     linear,           linearBf16,          groupedW4A4, groupedW4A16, groupedBf16,
    groupedDense, groupedDenseBf16, generic::gatherRows, stage,       swiglu,       scatterExperts,
    addInPlace,   rmsNorm,          generic::embed,      hcPre,       hcPost,       hcHead,
    &kScan,
};

}  // namespace megamoe::gemm::avx512
