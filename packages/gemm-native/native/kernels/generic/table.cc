#include "generic.h"

namespace megamoe::gemm::generic {

KernelTable table() {
  KernelTable t;
#define MEGAMOE_ENTRY(Result, name, Params) t.name = name;
  MEGAMOE_GEMM_OPERATIONS(MEGAMOE_ENTRY)
#undef MEGAMOE_ENTRY
  t.scan = kScan;
  return t;
}

}  // namespace megamoe::gemm::generic
