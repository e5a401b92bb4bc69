// Kernels in portable C++ for any processor: the oracle of the faster ones, and what runs where those cannot.
#pragma once

#include "../kernel_table.h"

namespace megamoe::gemm::generic {

// Every entry; the others' tables begin as this one.
KernelTable table();

#define MEGAMOE_ENTRY(Result, name, Params) Result name(const Params& p, int threads);
MEGAMOE_GEMM_OPERATIONS(MEGAMOE_ENTRY)
#undef MEGAMOE_ENTRY

extern const ScanKernels kScan;

void swigluRow(const float* gate, const float* up, std::int64_t n, float limit, float* out);

// out[r, n] = x[r] . w[n] for rows [r0, r1) and weight rows [n0, n1): the dot product of linear(), for other kernels.
struct DenseBlock {
  const Weight* w;  // f32 or bf16
  std::int64_t matrix, n0, n1;
  const float* x;
  std::int64_t xStride, r0, r1;
  float* out;
  std::int64_t outStride;
};
void denseBlock(const DenseBlock& b);

// 1/sqrt(mean(x^2) + eps), the mean in float64.
float rmsFactor(const float* x, std::int64_t d, double eps);

// Items of work that are worth a thread: fewer multiply-adds than this stay on the caller.
constexpr std::int64_t kWorkPerThread = 65536;

// Grain for parallelFor when one item costs `work` multiply-adds.
inline std::int64_t grainOf(std::int64_t work) {
  return work >= kWorkPerThread ? 1 : kWorkPerThread / (work > 0 ? work : 1);
}

}  // namespace megamoe::gemm::generic
