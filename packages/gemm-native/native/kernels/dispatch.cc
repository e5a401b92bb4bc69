// Compiled without instruction-set flags: it decides what may run.
#include "dispatch.h"

#include <megamoe/isa.h>

#include "generic/generic.h"
#if defined(MEGAMOE_GEMM_X86)
#include "avx2/avx2.h"
#include "avx512/avx512.h"
#endif
#if defined(MEGAMOE_GEMM_ARM64)
#include "neon-dotprod/neon_dotprod.h"
#include "neon/neon.h"
#endif

namespace megamoe::gemm {

const std::vector<KernelTable>& availableTables() {
  static const std::vector<KernelTable> tables = tablesFor<KernelTable>(cpuFeatures(), {
#if defined(MEGAMOE_GEMM_X86)
    {isa::kAvx512, avx512::table}, {isa::kAvx2, avx2::table},
#endif
#if defined(MEGAMOE_GEMM_ARM64)
        {isa::kNeonDotprod, neon_dotprod::table}, {isa::kNeon, neon::table},
#endif
        {isa::kGeneric, generic::table},
  });
  return tables;
}

std::int64_t findBadScale(const std::uint8_t* sf, std::int64_t n) {
  constexpr std::int64_t kChunk = 256;
  for (std::int64_t i = 0; i < n; i += kChunk) {
    const std::int64_t end = i + kChunk < n ? i + kChunk : n;
    unsigned bad = 0;
    for (std::int64_t j = i; j < end; j++) bad |= sf[j] >= 0x7f ? 1u : 0u;
    if (bad == 0) continue;
    while (sf[i] < 0x7f) i++;
    return i;
  }
  return -1;
}

}  // namespace megamoe::gemm
