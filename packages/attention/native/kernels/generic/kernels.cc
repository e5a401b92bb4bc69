// Portable kernels: plain loops that any compiler vectorizes for its baseline, in the order of operations that the
// other instruction sets are held to.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "../table.h"

namespace attention {
namespace generic {
namespace {

// Multiply-adds that are worth another thread: some twenty microseconds.
constexpr int64_t kRangeWork = int64_t{1} << 17;

#include "lanes.h"
#include "rope.h"
#include "pool.h"
#include "../common/compress.h"
#include "../common/pages.h"
#include "../common/keys.h"
#include "index_select.h"
#include "attend.h"

}  // namespace
}  // namespace generic

const KernelTable kGenericKernels = {
    "generic",
    generic::kRangeWork,
    generic::attendScratch,
    generic::scoreScratch,
    generic::rope,
    generic::compressWindows,
    generic::indexScores,
    generic::selectTop,
    generic::attend,
    nullptr,
    nullptr,
};

}  // namespace attention
