// Compiled without instruction-set flags: it decides what may run.
#include "dispatch.h"

#include <megamoe/cpu_features.h>

#include "generic/generic.h"

namespace megamoe::gemm {

const std::vector<const KernelTable*>& availableTables() {
  static const std::vector<const KernelTable*> tables = {&generic::kTable};
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
