// What an instruction set computes: a kernel for each operation of one list.
//
// Every operation has a type of parameters of its own. So a kernel of one operation is no kernel of another to the
// compiler, and entries, which are set by name, cannot be mixed up. A table begins as generic::table(), and a set
// replaces what it has kernels for; what it has none for is generic's.
#pragma once

#include <cstdint>

#include "params.h"
#include "scan.h"

// OPERATION(result, name, parameters) for each operation. The result of `stage` is that of nvfp4/stage.h.
#define MEGAMOE_GEMM_OPERATIONS(OPERATION)                  \
  OPERATION(void, linear, LinearParams)                     \
  OPERATION(void, linearBf16, LinearBf16Params)             \
  OPERATION(void, groupedW4A4, GroupedW4A4Params)           \
  OPERATION(void, groupedW4A16, GroupedW4A16Params)         \
  OPERATION(void, groupedBf16, GroupedBf16Params)           \
  OPERATION(void, groupedDense, GroupedDenseParams)         \
  OPERATION(void, groupedDenseBf16, GroupedDenseBf16Params) \
  OPERATION(void, gatherRows, GatherParams)                 \
  OPERATION(std::int64_t, stage, StageParams)               \
  OPERATION(void, swiglu, SwigluParams)                     \
  OPERATION(void, scatterExperts, ScatterParams)            \
  OPERATION(void, addInPlace, AddParams)                    \
  OPERATION(void, rmsNorm, RmsNormParams)                   \
  OPERATION(void, embed, EmbedParams)                       \
  OPERATION(void, hcPre, HcPreParams)                       \
  OPERATION(void, hcPost, HcPostParams)                     \
  OPERATION(void, hcHead, HcHeadParams)

namespace megamoe::gemm {

struct KernelTable {
  const char* isa = nullptr;
#define MEGAMOE_ENTRY(Result, name, Params) Result (*name)(const Params&, int threads) = nullptr;
  MEGAMOE_GEMM_OPERATIONS(MEGAMOE_ENTRY)
#undef MEGAMOE_ENTRY
  ScanKernels scan = {};
};

}  // namespace megamoe::gemm
