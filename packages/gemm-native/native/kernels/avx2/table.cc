// Compiled without instruction-set flags.
#include "../generic/generic.h"
#include "../nvfp4/grouped.h"
#include "../nvfp4/stage.h"
#include "avx2.h"

namespace megamoe::gemm::avx2 {

KernelTable table() {
  KernelTable t = generic::table();
  t.groupedW4A4 = nvfp4::groupedBy<kW4A4>;
  t.groupedW4A16 = nvfp4::groupedBy<kW4A16>;
  t.groupedBf16 = nvfp4::groupedBy<kBf16>;
  t.stage = nvfp4::stageBy<kStage>;
  setDense(t);
  setRows(t);
  setHyperConnections(t);
  setScan(t);
  return t;
}

}  // namespace megamoe::gemm::avx2
