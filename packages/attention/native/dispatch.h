// Which kernels run: chosen at run time from what was compiled in and what the machine has.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.h"

namespace attention {

// Tables that this machine can run, best first; never empty. The index is what bindings pass.
const std::vector<const KernelTable*>& usableKernels();

}  // namespace attention
