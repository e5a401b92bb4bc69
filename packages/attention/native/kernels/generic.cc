// Portable kernels: plain loops that any compiler vectorizes for its baseline. A file for another instruction set includes the same
// headers in a namespace of its own, with its own flags, and replaces what it does better.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "table.h"

namespace attention {
namespace generic {

#include "lanes.h"
#include "rope.h"
#include "compress.h"
#include "index_select.h"
#include "attend.h"

}  // namespace generic

const KernelTable kGenericKernels = {
    "generic", generic::rope, generic::compressWindows, generic::indexScores, generic::attend,
};

}  // namespace attention
