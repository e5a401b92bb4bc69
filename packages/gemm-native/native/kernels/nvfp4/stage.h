// Activation staging (gather and quantize) for any instruction set's kernels.
#pragma once

#include "../params.h"
#include "kernels.h"

namespace megamoe::gemm::nvfp4 {

// -1, or the index in x of the first value that is not finite, in the first row that has one. With SwiGLU: the index in
// [R, K] of its result.
std::int64_t stage(const StageKernels& kernels, const StageParams& p, int threads);

// As an entry of a table: stageBy<kStage>.
template <const StageKernels& kernels>
static std::int64_t stageBy(const StageParams& p, int threads) {
  return stage(kernels, p, threads);
}

}  // namespace megamoe::gemm::nvfp4
