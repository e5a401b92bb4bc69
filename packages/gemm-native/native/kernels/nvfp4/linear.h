// Linears with NVFP4 weights, by the grouped kernels: a group of a block-diagonal weight is an expert that has all
// rows.
#pragma once

#include "../kernel_table.h"

namespace megamoe::gemm::nvfp4 {

// Float32 activations, or (bf16) rounded to BF16.
void linearW4A16(const KernelTable& table, const LinearNvfp4Params& p, bool bf16, int threads);

// -1, or the index in x of the first value that is not finite, in the first row (of [M, groups]) that has one in its
// group's turn.
std::int64_t linearW4A4(const KernelTable& table, const LinearNvfp4Params& p, int threads);

}  // namespace megamoe::gemm::nvfp4
