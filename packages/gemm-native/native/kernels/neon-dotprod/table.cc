// Compiled without instruction-set flags. NEON's kernels, but for the products that use sdot.
#include "table.h"

#include "../generic/generic.h"
#include "../neon/neon.h"
#include "../nvfp4/grouped.h"
#include "../rounded.h"
#include "products.h"

namespace megamoe::gemm::neon_dotprod {

namespace {

void groupedW4A4(const GroupedW4A4Params& p, int threads) { nvfp4::groupedW4A4(kW4A4, p, threads); }

void groupedW4A16(const GroupedA16Params& p, int threads) { nvfp4::groupedW4A16(kW4A16, p, threads); }

void linearBf16(const LinearParams& p, int threads) { linearRounded(neon::linear, p, threads); }

void groupedDenseBf16(const GroupedA16Params& p, int threads) { groupedRounded(neon::groupedDense, p, threads); }

}  // namespace

const KernelTable kTable = {
    "neon-dotprod",    neon::linear,         linearBf16,       groupedW4A4,         groupedW4A16,
    neon::groupedBf16, neon::groupedDense,   groupedDenseBf16, generic::gatherRows, neon::stage,
    neon::swiglu,      neon::scatterExperts, neon::addInPlace, neon::rmsNorm,       generic::embed,
    neon::hcPre,       neon::hcPost,         neon::hcHead,     &neon::kScan,
};

}  // namespace megamoe::gemm::neon_dotprod
