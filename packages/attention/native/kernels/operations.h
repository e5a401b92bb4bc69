// The operations on several threads, for any instruction set's kernels: how each is cut into independent items, and
// what is done before and after on the caller's thread. Compiled without instruction-set flags.
#pragma once

#include "kernel_table.h"

namespace megamoe::attention {

#define MEGAMOE_ENTRY(Result, name, Params) Result name(const RangeKernels& kernels, const Params& p, int threads);
MEGAMOE_ATTENTION_OPERATIONS(MEGAMOE_ENTRY)
#undef MEGAMOE_ENTRY

// The table of a set that has these kernels.
template <const RangeKernels& kernels>
static KernelTable tableOf() {
  KernelTable t;
#define MEGAMOE_ENTRY(Result, name, Params) \
  t.name = [](const Params& p, int threads) { return megamoe::attention::name(kernels, p, threads); };
  MEGAMOE_ATTENTION_OPERATIONS(MEGAMOE_ENTRY)
#undef MEGAMOE_ENTRY
  t.ranges = &kernels;
  return t;
}

}  // namespace megamoe::attention
