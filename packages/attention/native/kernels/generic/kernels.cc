// Portable kernels: plain loops that any compiler vectorizes for its baseline, in the order of operations that the
// other instruction sets are held to.
#include <cmath>

#include "../operations.h"
#include "attend.h"
#include "index_select.h"
#include "pool.h"
#include "rope.h"

namespace megamoe::attention::generic {

namespace {

// What the templates of ../common ask for.
struct Set {
  static void rotatePairs(const Pairs& p) { generic::rotatePairs(p); }
  static void poolChannels(const Candidate* candidates, std::int64_t count, std::int64_t dim, float* out) {
    generic::poolChannels(candidates, count, dim, out);
  }
  static float sumOfSquares(const float* x, std::int64_t n) { return dot(x, x, n); }
  static float squareRoot(float x) { return std::sqrt(x); }
};

constexpr RangeKernels rangeKernels() {
  RangeKernels k;
  k.rangeWork = std::int64_t{1} << 17;  // some twenty microseconds
  k.rope = ropeRows<Set>;
  k.compressWindows = compressWindows<Set>;
  k.scoreScratch = scoreScratch;
  k.indexScores = indexScores;
  k.selectTop = selectTop;
  k.attendSizes = attendSizes;
  k.attend = attend;
  return k;
}

constexpr RangeKernels kKernels = rangeKernels();

}  // namespace

KernelTable table() { return tableOf<kKernels>(); }

}  // namespace megamoe::attention::generic
