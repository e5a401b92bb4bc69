// One table of kernels per instruction set. A set that this machine lacks is not listed.
#pragma once

#include <string>
#include <vector>

#include "params.h"
#include "scan.h"

namespace megamoe::gemm {

struct KernelTable {
  const char* isa;
  void (*linear)(const LinearParams&, int threads);
  void (*linearBf16)(const LinearParams&, int threads);  // the same with activations rounded to BF16
  void (*groupedW4A4)(const GroupedW4A4Params&, int threads);
  void (*groupedW4A16)(const GroupedA16Params&, int threads);      // nvfp4 weights
  void (*groupedBf16)(const GroupedA16Params&, int threads);       // nvfp4 weights, activations rounded to BF16
  void (*groupedDense)(const GroupedA16Params&, int threads);      // f32, bf16 and fp8 weights
  void (*groupedDenseBf16)(const GroupedA16Params&, int threads);  // the same, activations rounded to BF16
  void (*gatherRows)(const GatherParams&, int threads);
  std::int64_t (*stage)(const StageParams&, int threads);  // see nvfp4/stage.h
  void (*swiglu)(const SwigluParams&, int threads);
  void (*scatterExperts)(const ScatterParams&, int threads);
  void (*addInPlace)(const AddParams&, int threads);
  void (*rmsNorm)(const RmsNormParams&, int threads);
  void (*embed)(const EmbedParams&, int threads);
  void (*hcPre)(const HcPreParams&, int threads);
  void (*hcPost)(const HcPostParams&, int threads);
  void (*hcHead)(const HcHeadParams&, int threads);
  const ScanKernels* scan;
};

// The tables that can run here, slowest first: the last one is the choice of `auto`.
const std::vector<const KernelTable*>& availableTables();

// Index of the first of n bytes that is no block scale (NaN or negative), or -1.
std::int64_t findBadScale(const std::uint8_t* sf, std::int64_t n);

}  // namespace megamoe::gemm
