// Activation staging with NEON: 4 lanes, a register.
#include <arm_neon.h>

#include "../simd/rows.h"
#include "../simd/stage.h"
#include "lanes.h"
#include "neon.h"

namespace megamoe::gemm::neon {

namespace {

struct StageLanes {
  using Reg = float32x4_t;
  using Ints = uint32x4_t;
  struct Mask {
    uint32x4_t lanes;
  };
  static constexpr int kLanes = 4;

  static Reg zero() { return splat(0.f); }
  static Reg splat(float v) { return vdupq_n_f32(v); }
  static Reg load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Reg v) { vst1q_f32(p, v); }
  static Reg add(Reg a, Reg b) { return vaddq_f32(a, b); }
  static Reg mul(Reg a, Reg b) { return vmulq_f32(a, b); }
  static Reg div(Reg a, Reg b) { return vdivq_f32(a, b); }
  static Reg min(Reg a, Reg b) { return vminq_f32(a, b); }
  static Reg max(Reg a, Reg b) { return vmaxq_f32(a, b); }
  static Ints bits(Reg v) { return vreinterpretq_u32_f32(v); }
  static Reg floats(Ints v) { return vreinterpretq_f32_u32(v); }
  static Ints nearest(Reg v) { return vcvtnq_u32_f32(v); }

  static Ints splatInts(std::uint32_t v) { return vdupq_n_u32(v); }
  static Ints both(Ints a, Ints b) { return vandq_u32(a, b); }
  static Ints plus(Ints a, Ints b) { return vaddq_u32(a, b); }
  static Ints minus(Ints a, Ints b) { return vsubq_u32(a, b); }
  static Ints larger(Ints a, Ints b) { return vmaxq_u32(a, b); }
  template <int n>
  static Ints shiftRight(Ints v) {
    return vshrq_n_u32(v, n);
  }
  template <int n>
  static Ints shiftLeft(Ints v) {
    return vshlq_n_u32(v, n);
  }

  static Mask below(Reg a, Reg b) { return {vcltq_f32(a, b)}; }
  static Mask equal(Reg a, Reg b) { return {vceqq_f32(a, b)}; }
  static Reg choose(Mask m, Reg a, Reg b) { return vbslq_f32(m.lanes, a, b); }
  static Ints choose(Mask m, Ints a, Ints b) { return vbslq_u32(m.lanes, a, b); }
  static Ints withBits(Ints v, Mask m, std::uint32_t wanted) { return vorrq_u32(v, both(m.lanes, splatInts(wanted))); }

  static std::uint32_t largest(Ints v) { return vmaxvq_u32(v); }
  static void prefetch(const float*) {}  // the processor sees what is next

  static Ints blockMaxima(const float* x, int blocks) {
    Ints v[4];
    for (int i = 0; i < 4; i++) v[i] = i < blocks ? blockMagnitudes(x + i * 16) : splatInts(0);
    return vpmaxq_u32(vpmaxq_u32(v[0], v[1]), vpmaxq_u32(v[2], v[3]));
  }

  static void storeBytes(std::uint8_t* to, int n, Ints v) {
    std::uint32_t bytes[4];
    vst1q_u32(bytes, v);
    for (int i = 0; i < n; i++) to[i] = static_cast<std::uint8_t>(bytes[i]);
  }

  // Codes of one block as 8 bytes, the even element in the low nibble.
  static void storeCodes(std::uint8_t* to, const Ints (&code)[4]) {
    const uint8x8_t low = vmovn_u16(vcombine_u16(vmovn_u32(code[0]), vmovn_u32(code[1])));
    const uint8x8_t high = vmovn_u16(vcombine_u16(vmovn_u32(code[2]), vmovn_u32(code[3])));
    vst1_u8(to, vorr_u8(vuzp1_u8(low, high), vshl_n_u8(vuzp2_u8(low, high), 4)));
  }
  static void storeFirstCodes(std::uint8_t*, int, const Ints (&)[4]) {}  // storeCodes stores whole blocks

 private:
  // Lane i is the largest of the lanes i of a block's magnitudes.
  static Ints blockMagnitudes(const float* x) {
    const auto at = [&](int i) { return simd::magnitude<StageLanes>(load(x + 4 * i)); };
    return larger(larger(at(0), at(1)), larger(at(2), at(3)));
  }
};

}  // namespace

extern const nvfp4::StageKernels kStage = {simd::amaxBits<StageLanes>, simd::stageRow<StageLanes>,
                                           simd::swigluRow<F64>};

}  // namespace megamoe::gemm::neon
