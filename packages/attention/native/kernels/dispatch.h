// Which kernels run: chosen at run time from what was compiled in and what the machine has.
#pragma once

#include <megamoe/cpu_features.h>

#include <vector>

#include "kernels/table.h"

namespace attention {

// Compiled tables that a machine with these features can run, best first; never empty.
std::vector<const KernelTable*> kernelsFor(const megamoe::CpuFeatures& features);

// Those of this machine. The index is what bindings pass.
const std::vector<const KernelTable*>& usableKernels();

}  // namespace attention
