// Compiled without instruction-set flags.
#include "../neon/neon.h"
#include "../nvfp4/grouped.h"
#include "neon_dotprod.h"

namespace megamoe::gemm::neon_dotprod {

KernelTable table() {
  KernelTable t = neon::table();
  t.groupedW4A4 = nvfp4::groupedBy<kW4A4>;
  t.groupedW4A16 = nvfp4::groupedBy<kW4A16>;
  return t;
}

}  // namespace megamoe::gemm::neon_dotprod
