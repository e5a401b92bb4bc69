// The products of ../neon with sdot: compiled with -march=armv8.2-a+dotprod.
#include "../neon/w4a16.h"
#include "../neon/w4a4.h"
#include "neon_dotprod.h"

namespace megamoe::gemm::neon_dotprod {

namespace {

// start + the sum of the 16 products of each column with 16 signed bytes.
struct Sdot {
  static int32x4_t dot(const neon::Weights& w, int8x16_t a, int32x4_t start) {
    start = vdotq_laneq_s32(start, w.step[0], a, 0);
    start = vdotq_laneq_s32(start, w.step[1], a, 1);
    start = vdotq_laneq_s32(start, w.step[2], a, 2);
    return vdotq_laneq_s32(start, w.step[3], a, 3);
  }
};

}  // namespace

extern const nvfp4::W4A4Kernels kW4A4 = neon::w4a4Kernels<Sdot>();
extern const nvfp4::W4A16Kernels kW4A16 = neon::w4a16Kernels<Sdot>();

}  // namespace megamoe::gemm::neon_dotprod
