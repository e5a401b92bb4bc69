// What an instruction set computes: a kernel for each operation of one list.
//
// Every operation has a type of parameters of its own. So a kernel of one operation is no kernel of another to the
// compiler, and entries, which are set by name, cannot be mixed up.
#pragma once

#include "params.h"
#include "range_kernels.h"

// OPERATION(result, name, parameters) for each operation.
#define MEGAMOE_ATTENTION_OPERATIONS(OPERATION)   \
  OPERATION(void, rope, RopeParams)               \
  OPERATION(void, writeWindow, WriteWindowParams) \
  OPERATION(void, compress, CompressParams)       \
  OPERATION(void, indexSelect, IndexSelectParams) \
  OPERATION(void, attend, AttendParams)

namespace megamoe::attention {

struct KernelTable {
  const char* isa = nullptr;
#define MEGAMOE_ENTRY(Result, name, Params) Result (*name)(const Params&, int threads) = nullptr;
  MEGAMOE_ATTENTION_OPERATIONS(MEGAMOE_ENTRY)
#undef MEGAMOE_ENTRY
  const RangeKernels* ranges = nullptr;  // what the entries are made of
};

// The table of each set, where it is built; to be called where it runs.
namespace generic {
KernelTable table();
}
namespace avx2 {
KernelTable table();
}
namespace avx512 {
KernelTable table();
}
namespace neon {
KernelTable table();
}

}  // namespace megamoe::attention
