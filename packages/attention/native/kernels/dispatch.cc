// Compiled without any instruction set flags: the choice must run everywhere.
#include "dispatch.h"

namespace attention {

std::vector<const KernelTable*> kernelsFor(const megamoe::CpuFeatures& f) {
  std::vector<const KernelTable*> tables;
#if defined(MEGAMOE_ATTENTION_X86)
  const bool avx2 = f.avx2 && f.fma;
  // The set that the name stands for in every package, though these kernels use only the first four.
  const bool avx512 =
      f.avx512f && f.avx512bw && f.avx512dq && f.avx512vl && f.avx512vnni && f.avx512vbmi && f.avx512bf16;
  if (avx2 && avx512) tables.push_back(&kAvx512Kernels);
  if (avx2) tables.push_back(&kAvx2Kernels);
#elif defined(MEGAMOE_ATTENTION_ARM64)
  // The set that the name stands for in every package; these kernels are the same with and without dot products of
  // bytes.
  if (f.neon && f.dotprod) tables.push_back(&kNeonDotprodKernels);
  if (f.neon) tables.push_back(&kNeonKernels);
#else
  static_cast<void>(f);
#endif
  tables.push_back(&kGenericKernels);
  return tables;
}

const std::vector<const KernelTable*>& usableKernels() {
  static const std::vector<const KernelTable*> tables = kernelsFor(megamoe::cpuFeatures());
  return tables;
}

}  // namespace attention
