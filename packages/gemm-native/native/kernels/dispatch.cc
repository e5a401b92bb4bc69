// Compiled without instruction-set flags: it decides what may run.
#include "dispatch.h"

#include <megamoe/cpu_features.h>

#include "generic/generic.h"
#if defined(MEGAMOE_GEMM_X86)
#include "avx2/avx2.h"
#include "avx512/avx512.h"
#endif
#if defined(MEGAMOE_GEMM_ARM64)
#include "neon-dotprod/table.h"
#include "neon/neon.h"
#endif

namespace megamoe::gemm {

const std::vector<const KernelTable*>& availableTables() {
  static const std::vector<const KernelTable*> tables = [] {
    std::vector<const KernelTable*> found = {&generic::kTable};
#if defined(MEGAMOE_GEMM_X86)
    const CpuFeatures& f = cpuFeatures();
    const bool hasAvx2 = f.avx2 && f.fma && f.f16c;
    if (hasAvx2) found.push_back(&avx2::kTable);
    if (hasAvx2 && f.avx512f && f.avx512bw && f.avx512dq && f.avx512vl && f.avx512vnni && f.avx512vbmi && f.avx512bf16)
      found.push_back(&avx512::kTable);
#endif
#if defined(MEGAMOE_GEMM_ARM64)
    found.push_back(&neon::kTable);
    if (cpuFeatures().dotprod) found.push_back(&neon_dotprod::kTable);
#endif
    return found;
  }();
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
