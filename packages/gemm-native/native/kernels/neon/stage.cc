// ModelOpt's activation quantizer in the two phases of avx512/stage.cc and with the bits of generic/stage.cc.
#include <arm_neon.h>

#include "../simd/rows.h"
#include "lanes.h"
#include "neon.h"

namespace megamoe::gemm::neon {

namespace {

constexpr std::int64_t kChunk = 2048;
constexpr std::int64_t kGroup = 64;  // elements whose 4 scales are computed together
constexpr std::uint32_t kInfinityBits = 0x7f800000u;

inline uint32x4_t magnitude(float32x4_t v) { return vandq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0x7fffffff)); }

// Lane i is the largest of the lanes of block i's magnitudes.
inline uint32x4_t blockMagnitudes(const float* x) {
  return vmaxq_u32(vmaxq_u32(magnitude(vld1q_f32(x)), magnitude(vld1q_f32(x + 4))),
                   vmaxq_u32(magnitude(vld1q_f32(x + 8)), magnitude(vld1q_f32(x + 12))));
}

// Lane i of the result is the largest magnitude of block i; blocks from `blocks` on count as zeros.
inline uint32x4_t blockMaxima(const float* x, int blocks) {
  uint32x4_t v[4];
  for (int i = 0; i < 4; i++) v[i] = i < blocks ? blockMagnitudes(x + i * 16) : vdupq_n_u32(0);
  return vpmaxq_u32(vpmaxq_u32(v[0], v[1]), vpmaxq_u32(v[2], v[3]));
}

// E4M3 codes of scales in [2^-9, 448], ties to even.
inline uint32x4_t encodeScales(float32x4_t s) {
  const uint32x4_t bits = vreinterpretq_u32_f32(s);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 20), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7ffff)), odd);
  const uint32x4_t normal = vsubq_u32(vshrq_n_u32(rounded, 20), vdupq_n_u32(120 << 3));
  const uint32x4_t subnormal = vcvtnq_u32_f32(vmulq_n_f32(s, 512.f));
  return vbslq_u32(vcltq_f32(s, vdupq_n_f32(0x1p-6f)), subnormal, normal);
}

// E2M1 codes of quotients; see avx512/stage.cc.
inline uint32x4_t encodeCodes(float32x4_t q) {
  const float32x4_t a = vminq_f32(vabsq_f32(q), vdupq_n_f32(6.f));
  const uint32x4_t exponent = vandq_u32(vreinterpretq_u32_f32(vmaxq_f32(a, vdupq_n_f32(1.f))), vdupq_n_u32(0x7f800000));
  const uint32x4_t magic = vaddq_u32(exponent, vdupq_n_u32(22u << 23));
  const uint32x4_t steps = vsubq_u32(vreinterpretq_u32_f32(vaddq_f32(a, vreinterpretq_f32_u32(magic))), magic);
  const uint32x4_t code = vaddq_u32(steps, vsubq_u32(vshrq_n_u32(exponent, 22), vdupq_n_u32(254)));
  return vorrq_u32(code, vandq_u32(vcltzq_f32(q), vdupq_n_u32(8)));  // -0 is not below zero
}

// Scales of up to 4 blocks, and what their elements are divided by. Returns the largest magnitudes.
inline uint32x4_t groupScales(const float* x, int blocks, float sixG, float g, std::uint8_t* sf, float* steps) {
  const uint32x4_t maxima = blockMaxima(x, blocks);
  float32x4_t scale = vdivq_f32(vreinterpretq_f32_u32(maxima), vdupq_n_f32(sixG));
  scale = vbslq_f32(vceqzq_f32(scale), vdupq_n_f32(1.f), scale);
  scale = vminq_f32(vmaxq_f32(scale, vdupq_n_f32(0x1p-9f)), vdupq_n_f32(448.f));
  const uint32x4_t codes = encodeScales(scale);
  std::uint32_t bytes[4];
  vst1q_u32(bytes, codes);
  for (int i = 0; i < blocks; i++) sf[i] = static_cast<std::uint8_t>(bytes[i]);
  const float32x4_t value = vmulq_n_f32(vreinterpretq_f32_u32(vshlq_n_u32(codes, 20)), 0x1p120f);
  vst1q_f32(steps, vmulq_n_f32(value, g));
  return maxima;
}

// Codes of one block, the even element in the low nibble.
inline void blockCodes(const float* x, float step, std::uint8_t* out) {
  const float32x4_t s = vdupq_n_f32(step);
  uint16x4_t code[4];
  for (int i = 0; i < 4; i++) code[i] = vmovn_u32(encodeCodes(vdivq_f32(vld1q_f32(x + 4 * i), s)));
  const uint8x8_t low = vmovn_u16(vcombine_u16(code[0], code[1])), high = vmovn_u16(vcombine_u16(code[2], code[3]));
  vst1_u8(out, vorr_u8(vuzp1_u8(low, high), vshl_n_u8(vuzp2_u8(low, high), 4)));
}

bool chunk(const float* x, std::int64_t n, float sixG, float g, std::uint8_t* codes, std::uint8_t* sf) {
  float steps[kChunk / 16];
  uint32x4_t most = vdupq_n_u32(0);
  for (std::int64_t i = 0; i < n; i += kGroup) {
    const std::int64_t left = n - i < kGroup ? n - i : kGroup;
    most = vmaxq_u32(most, groupScales(x + i, static_cast<int>(left / 16), sixG, g, sf + i / 16, steps + i / 16));
  }
  if (vmaxvq_u32(most) >= kInfinityBits) return false;
  for (std::int64_t i = 0; i < n; i += 16) blockCodes(x + i, steps[i / 16], codes + i / 2);
  return true;
}

bool row(const float* x, std::int64_t k, float g, std::uint8_t* codes, std::uint8_t* sf, const float*) {
  for (std::int64_t i = 0; i < k; i += kChunk)
    if (!chunk(x + i, k - i < kChunk ? k - i : kChunk, 6.f * g, g, codes + i / 2, sf + i / 16)) return false;
  return true;
}

std::uint32_t amaxBits(const float* x, std::int64_t n) {
  uint32x4_t most = vdupq_n_u32(0);
  for (std::int64_t i = 0; i < n; i += 16) most = vmaxq_u32(most, blockMagnitudes(x + i));
  return vmaxvq_u32(most);
}

}  // namespace

extern const nvfp4::StageKernels kStage = {amaxBits, row, simd::swigluRow<F64>};

}  // namespace megamoe::gemm::neon
