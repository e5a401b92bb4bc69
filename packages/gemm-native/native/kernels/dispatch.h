// Which kernels run: chosen at run time from what was compiled in and what the machine has.
#pragma once

#include <vector>

#include "kernel_table.h"

namespace megamoe::gemm {

// The tables that can run here, best first: the first one is the choice of `auto`, the last one is generic's.
const std::vector<KernelTable>& availableTables();

// Index of the first of n bytes that is no block scale (NaN or negative), or -1.
std::int64_t findBadScale(const std::uint8_t* sf, std::int64_t n);

}  // namespace megamoe::gemm
