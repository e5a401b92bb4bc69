#include "../generic/generic.h"
#include "../nvfp4/grouped.h"
#include "../nvfp4/stage.h"
#include "neon.h"

namespace megamoe::gemm::neon {

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

}  // namespace megamoe::gemm::neon
