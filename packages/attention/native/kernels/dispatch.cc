// Compiled without instruction-set flags: it decides what may run.
#include "dispatch.h"

#include <megamoe/isa.h>

namespace megamoe::attention {

const std::vector<KernelTable>& availableTables() {
  static const std::vector<KernelTable> tables = tablesFor<KernelTable>(cpuFeatures(), {
#if defined(MEGAMOE_ATTENTION_X86)
    {isa::kAvx512, avx512::table},  // of which these kernels use F, BW, DQ and VL
        {isa::kAvx2, avx2::table},
#endif
#if defined(MEGAMOE_ATTENTION_ARM64)
        {isa::kNeonDotprod, neon::table},  // these kernels have no dot products of bytes
        {isa::kNeon, neon::table},
#endif
        {isa::kGeneric, generic::table},
  });
  return tables;
}

}  // namespace megamoe::attention
