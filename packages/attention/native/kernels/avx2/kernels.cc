// The kernels of ../simd with AVX2 and FMA. Everything is in an unnamed namespace, and nothing inline of the standard
// library is used: the linker must find no function here that it could take for the same one compiled for every
// machine.
#include <immintrin.h>

#include "../table.h"

namespace attention {
namespace avx2 {
namespace {

#include "vec.h"
#include "../simd/kernels.h"

}  // namespace
}  // namespace avx2

const KernelTable kAvx2Kernels = {
    "avx2",       avx2::kRangeWork,      avx2::attendScratch, avx2::scoreScratch,
    avx2::rope,   avx2::compressWindows, avx2::indexScores,   avx2::selectTop,
    avx2::attend, avx2::attendHalf,      avx2::attendJoin,
};

}  // namespace attention
