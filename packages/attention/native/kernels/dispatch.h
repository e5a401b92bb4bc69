// Which kernels run: chosen at run time from what was compiled in and what the machine has.
#pragma once

#include <vector>

#include "kernel_table.h"

namespace megamoe::attention {

// The tables that can run here, best first: the first one is the choice of `auto`, the last one is generic's.
const std::vector<KernelTable>& availableTables();

}  // namespace megamoe::attention
