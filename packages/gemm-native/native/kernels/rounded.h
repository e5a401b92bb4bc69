// Products of BF16 activations with dense weights, for instruction sets that multiply float32: the activations are
// rounded first, by activationBf16 of nvfp4/bf16_rule.h, and then it is the float32 product.
#pragma once

#include "params.h"

namespace megamoe::gemm {

void linearRounded(void (*linear)(const LinearParams&, int threads), const LinearParams& p, int threads);

void groupedRounded(void (*grouped)(const GroupedA16Params&, int threads), const GroupedA16Params& p, int threads);

}  // namespace megamoe::gemm
