// Kernels for processors with AVX-512 F, BW, DQ, VL, VNNI, VBMI and BF16. All files of this folder but table.cc are
// compiled with their flags.
#pragma once

#include "../kernel_table.h"
#include "../nvfp4/kernels.h"

namespace megamoe::gemm::avx512 {

KernelTable table();

extern const nvfp4::W4A4Kernels kW4A4;
extern const nvfp4::W4A16Kernels kW4A16;
extern const nvfp4::Bf16Kernels kBf16;
extern const nvfp4::StageKernels kStage;

// Set the entries that linear.cc, rows.cc, hyper_connections.cc and scan.cc have kernels for.
void setDense(KernelTable& t);
void setRows(KernelTable& t);
void setHyperConnections(KernelTable& t);
void setScan(KernelTable& t);

}  // namespace megamoe::gemm::avx512
