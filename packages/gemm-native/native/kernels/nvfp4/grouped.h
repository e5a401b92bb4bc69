// Grouped products over experts with NVFP4 weights, for any instruction set's kernels.
#pragma once

#include <type_traits>

#include "../params.h"
#include "kernels.h"

namespace megamoe::gemm::nvfp4 {

void grouped(const W4A4Kernels& kernels, const GroupedW4A4Params& p, int threads);
void grouped(const W4A16Kernels& kernels, const GroupedW4A16Params& p, int threads);
void grouped(const Bf16Kernels& kernels, const GroupedBf16Params& p, int threads);

// As an entry of a table: groupedBy<kW4A4>.
template <auto& kernels>
static void groupedBy(const typename std::remove_reference_t<decltype(kernels)>::Params& p, int threads) {
  grouped(kernels, p, threads);
}

}  // namespace megamoe::gemm::nvfp4
