// Kernels for processors with AVX-512 F, BW, DQ, VL, VNNI, VBMI and BF16. All files of this folder but table.cc are
// compiled with their flags.
#pragma once

#include "../dispatch.h"

namespace megamoe::gemm::avx512 {

extern const KernelTable kTable;

void linear(const LinearParams& p, int threads);
void linearBf16(const LinearParams& p, int threads);
void groupedDense(const GroupedA16Params& p, int threads);
void groupedDenseBf16(const GroupedA16Params& p, int threads);
void swiglu(const SwigluParams& p, int threads);
void swigluRow(const float* gate, const float* up, std::int64_t n, float limit, float* out);
void scatterExperts(const ScatterParams& p, int threads);
void addInPlace(const AddParams& p, int threads);
void rmsNorm(const RmsNormParams& p, int threads);
void hcPre(const HcPreParams& p, int threads);
void hcPost(const HcPostParams& p, int threads);
void hcHead(const HcHeadParams& p, int threads);

}  // namespace megamoe::gemm::avx512
