// Kernels for processors with AVX2 and FMA. All files of this folder but table.cc are compiled with their flags.
#pragma once

#include "../dispatch.h"

namespace megamoe::gemm::avx2 {

extern const KernelTable kTable;

void linear(const LinearParams& p, int threads);
void groupedDense(const GroupedA16Params& p, int threads);

}  // namespace megamoe::gemm::avx2
