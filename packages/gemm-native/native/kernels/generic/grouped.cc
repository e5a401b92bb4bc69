// Grouped products over experts. NVFP4 weights go through the driver that all instruction sets share; dense ones are
// here.
#include <megamoe/thread_pool.h>

#include <algorithm>

#include "../nvfp4/grouped.h"
#include "../rounded.h"
#include "generic.h"
#include "nvfp4.h"

namespace megamoe::gemm::generic {

void groupedW4A4(const GroupedW4A4Params& p, int threads) { nvfp4::grouped(kW4A4, p, threads); }

void groupedW4A16(const GroupedW4A16Params& p, int threads) { nvfp4::grouped(kW4A16, p, threads); }

void groupedBf16(const GroupedBf16Params& p, int threads) { nvfp4::grouped(kBf16, p, threads); }

// Threads split the output columns and walk all experts: every thread has the same work however tokens fall on experts.
void groupedDense(const GroupedDenseParams& p, int threads) {
  const Weight& w = *p.w;
  const std::int64_t rows = p.expertOffsets[w.matrices - 1];
  parallelFor(w.panels(), threads, grainOf(rows * kPanel * w.k), [&](std::int64_t begin, std::int64_t end) {
    std::int64_t start = 0;
    for (std::int64_t e = 0; e < w.matrices; e++) {
      const std::int64_t stop = p.expertOffsets[e];
      if (stop > start)
        denseBlock({&w, e, begin * kPanel, std::min(w.n, end * kPanel), p.a, w.k, start, stop, p.out, w.n});
      start = stop;
    }
  });
}

void groupedDenseBf16(const GroupedDenseBf16Params& p, int threads) { groupedRounded<groupedDense>(p, threads); }

}  // namespace megamoe::gemm::generic
