// NEON, which every 64-bit Arm processor has.
#include <arm_neon.h>

#include "passes.h"

namespace megamoe::ceilings::neon {

namespace {

constexpr int kLanes = 4;
constexpr int kRegisters = 16;  // sums: the newest cores start four multiply-adds a cycle and take four cycles for each

std::uint64_t readPass(const std::uint8_t* p, std::int64_t bytes) {
  uint64x2_t sum[8];
  for (uint64x2_t& s : sum) s = vdupq_n_u64(0);
  for (std::int64_t i = 0; i < bytes; i += 128)
    for (int j = 0; j < 8; j++) sum[j] = vaddq_u64(sum[j], vreinterpretq_u64_u8(vld1q_u8(p + i + 16 * j)));
  for (int j = 1; j < 8; j++) sum[0] = vaddq_u64(sum[0], sum[j]);
  return vgetq_lane_u64(sum[0], 0) + vgetq_lane_u64(sum[0], 1);
}

float maxPass(const float* x, std::int64_t n) {
  float32x4_t best[4];
  for (int j = 0; j < 4; j++) best[j] = vld1q_f32(x + 4 * j);
  for (std::int64_t i = 16; i < n; i += 16)
    for (int j = 0; j < 4; j++) best[j] = vmaxq_f32(best[j], vld1q_f32(x + i + 4 * j));
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(best[0], best[1]), vmaxq_f32(best[2], best[3])));
}

float fmaPeak(std::int64_t rounds) {
  float32x4_t acc[kRegisters];
  for (float32x4_t& a : acc) a = vdupq_n_f32(0.f);
  const float32x4_t x = vdupq_n_f32(1.f / 1024);
  for (std::int64_t r = 0; r < rounds; r++)
    for (float32x4_t& a : acc) a = vfmaq_f32(a, x, x);
  float sum = 0;
  for (const float32x4_t& a : acc) sum += vaddvq_f32(a);
  return sum;
}

constexpr Passes passes() {
  Passes p;
  p.isa = "neon";
  p.read = readPass;
  p.max = maxPass;
  p.fma = {2.0 * kRegisters * kLanes, fmaPeak};
  return p;
}

}  // namespace

const Passes kPasses = passes();

}  // namespace megamoe::ceilings::neon
