// The kernels of ../simd with AVX-512 F, BW, DQ and VL. Everything is in an unnamed namespace, and nothing inline of
// the standard library is used: the linker must find no function here that it could take for the same one compiled for
// every machine.
#include <immintrin.h>

#include "../table.h"

namespace attention {
namespace avx512 {
namespace {

#include "vec.h"
#include "../simd/kernels.h"

}  // namespace
}  // namespace avx512

const KernelTable kAvx512Kernels = {
    "avx512",       avx512::kRangeWork,      avx512::attendScratch, avx512::scoreScratch,
    avx512::rope,   avx512::compressWindows, avx512::indexScores,   avx512::selectTop,
    avx512::attend, avx512::attendHalf,      avx512::attendJoin,
};

}  // namespace attention
