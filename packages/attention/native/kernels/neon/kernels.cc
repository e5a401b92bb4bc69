// The kernels of ../simd with NEON, which every 64-bit Arm processor has: no flags.
#include <arm_neon.h>

#include "../table.h"

namespace attention {
namespace neon {
namespace {

#include "vec.h"
#include "../simd/kernels.h"

constexpr KernelTable tableOf(const char* name) {
  return {name,        kRangeWork, attendScratch, scoreScratch, rope,      compressWindows,
          indexScores, selectTop,  attend,        attendHalf,   attendJoin};
}

}  // namespace
}  // namespace neon

const KernelTable kNeonKernels = neon::tableOf("neon");
const KernelTable kNeonDotprodKernels = neon::tableOf("neon-dotprod");

}  // namespace attention
