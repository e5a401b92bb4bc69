// Compiled without any instruction set flags: the choice must run everywhere.
#include "dispatch.h"

namespace attention {

const std::vector<const KernelTable*>& usableKernels() {
  static const std::vector<const KernelTable*> tables = {&kGenericKernels};
  return tables;
}

}  // namespace attention
