// Kernels for 64-bit Arm processors, all of which have NEON: no file here needs flags.
#pragma once

#include "../dispatch.h"
#include "../nvfp4/kernels.h"

namespace megamoe::gemm::neon {

extern const KernelTable kTable;
extern const nvfp4::W4A4Kernels kW4A4;
extern const nvfp4::W4A16Kernels kW4A16;
extern const nvfp4::W4A16Kernels kBf16;
extern const nvfp4::StageKernels kStage;
extern const ScanKernels kScan;

void linear(const LinearParams& p, int threads);
void groupedDense(const GroupedA16Params& p, int threads);
void groupedBf16(const GroupedA16Params& p, int threads);
std::int64_t stage(const StageParams& p, int threads);
void swiglu(const SwigluParams& p, int threads);
void swigluRow(const float* gate, const float* up, std::int64_t n, float limit, float* out);
void scatterExperts(const ScatterParams& p, int threads);
void addInPlace(const AddParams& p, int threads);
void rmsNorm(const RmsNormParams& p, int threads);
void hcPre(const HcPreParams& p, int threads);
void hcPost(const HcPostParams& p, int threads);
void hcHead(const HcHeadParams& p, int threads);

}  // namespace megamoe::gemm::neon
