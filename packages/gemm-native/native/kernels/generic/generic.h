// Kernels in portable C++ for any processor: the oracle of the faster ones, and what runs where those cannot.
#pragma once

#include "../dispatch.h"

namespace megamoe::gemm::generic {

extern const KernelTable kTable;

void linear(const LinearParams& p, int threads);
void groupedW4A4(const GroupedW4A4Params& p, int threads);
void groupedW4A16(const GroupedA16Params& p, int threads);
void groupedBf16(const GroupedA16Params& p, int threads);
void groupedDense(const GroupedA16Params& p, int threads);
void gatherRows(const GatherParams& p, int threads);
std::int64_t stage(const StageParams& p, int threads);
void swiglu(const SwigluParams& p, int threads);
void swigluRow(const float* gate, const float* up, std::int64_t n, float limit, float* out);
void scatterExperts(const ScatterParams& p, int threads);
void addInPlace(const AddParams& p, int threads);
void rmsNorm(const RmsNormParams& p, int threads);
void embed(const EmbedParams& p, int threads);
void hcPre(const HcPreParams& p, int threads);
void hcPost(const HcPostParams& p, int threads);
void hcHead(const HcHeadParams& p, int threads);

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
