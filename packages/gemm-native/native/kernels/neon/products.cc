// The products by multiplications of bytes into 16-bit sums, for processors without sdot.
#include "neon.h"
#include "w4a16.h"
#include "w4a4.h"

namespace megamoe::gemm::neon {

namespace {

// start + the sum of the 16 products of each column with 16 signed bytes. A lane of 16 bits adds four products of at
// most 12 * 128, then eight.
struct Widening {
  static int32x4_t dot(const Weights& w, int8x16_t a, int32x4_t start) {
    const int32x4_t steps = vreinterpretq_s32_s8(a);
    const int8x16_t a0 = vreinterpretq_s8_s32(vdupq_laneq_s32(steps, 0)),
                    a1 = vreinterpretq_s8_s32(vdupq_laneq_s32(steps, 1));
    const int8x16_t a2 = vreinterpretq_s8_s32(vdupq_laneq_s32(steps, 2)),
                    a3 = vreinterpretq_s8_s32(vdupq_laneq_s32(steps, 3));
    int16x8_t low = vmull_s8(vget_low_s8(w.step[0]), vget_low_s8(a0)), high = vmull_high_s8(w.step[0], a0);
    low = vmlal_s8(low, vget_low_s8(w.step[1]), vget_low_s8(a1)), high = vmlal_high_s8(high, w.step[1], a1);
    low = vmlal_s8(low, vget_low_s8(w.step[2]), vget_low_s8(a2)), high = vmlal_high_s8(high, w.step[2], a2);
    low = vmlal_s8(low, vget_low_s8(w.step[3]), vget_low_s8(a3)), high = vmlal_high_s8(high, w.step[3], a3);
    return vpadalq_s16(start, vpaddq_s16(low, high));
  }
};

}  // namespace

extern const W4A4Kernels kW4A4 = w4a4Kernels<Widening>();
extern const W4A16Kernels kW4A16 = w4a16Kernels<Widening>();

}  // namespace megamoe::gemm::neon
