// One vector of 8 floats in two registers: the vocabulary that ../simd is written in, with the lanes of AVX2 and so its
// bits. Included inside the namespace of this instruction set.
#include <cstdint>

struct Vec {
  float32x4_t low, high;
};
struct Mask {
  uint32x4_t low, high;
};
using Bits = unsigned;  // one bit a lane

constexpr int64_t kLanes = 8;
// The register tile of ../simd/tile.h: 6 x 2 sums and 2 columns of two registers and a broadcast value are 29 of the 32
// registers.
constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;

inline Vec all(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline Vec zero() { return all(0.0f); }
inline Vec load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
inline void store(float* p, Vec v) {
  vst1q_f32(p, v.low);
  vst1q_f32(p + 4, v.high);
}
// The first n < kLanes lanes; nothing past them is touched, and lanes past them are 0.
inline Vec loadPart(const float* p, int64_t n) {
  float values[kLanes] = {};
  for (int64_t i = 0; i < n; i++) values[i] = p[i];
  return load(values);
}
inline void storePart(float* p, Vec v, int64_t n) {
  float values[kLanes];
  store(values, v);
  for (int64_t i = 0; i < n; i++) p[i] = values[i];
}

inline Vec add(Vec a, Vec b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
inline Vec sub(Vec a, Vec b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
inline Vec mul(Vec a, Vec b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
inline Vec div(Vec a, Vec b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
// a*b + c, and c - a*b, rounded once.
inline Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)}; }
inline Vec fmaNeg(Vec a, Vec b, Vec c) { return {vfmsq_f32(c.low, a.low, b.low), vfmsq_f32(c.high, a.high, b.high)}; }

inline Vec choose(Mask m, Vec a, Vec b) { return {vbslq_f32(m.low, a.low, b.low), vbslq_f32(m.high, a.high, b.high)}; }
inline Vec maxOr(Vec a, Vec b) {  // b when either is NaN
  return choose({vcgtq_f32(a.low, b.low), vcgtq_f32(a.high, b.high)}, a, b);
}
// b where a == x, else a.
inline Vec replaceEqual(Vec a, Vec x, Vec b) {
  return choose({vceqq_f32(a.low, x.low), vceqq_f32(a.high, x.high)}, b, a);
}
// 0 where x < limit, else v.
inline Vec zeroBelow(Vec x, Vec limit, Vec v) {
  return choose({vcltq_f32(x.low, limit.low), vcltq_f32(x.high, limit.high)}, zero(), v);
}
inline float32x4_t powerOfTwo(float32x4_t shifted) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vreinterpretq_s32_f32(shifted), vdupq_n_s32(127)), 23));
}
inline Vec powerOfTwo(Vec shifted) {  // 2^n for n in the low bits of `shifted`
  return {powerOfTwo(shifted.low), powerOfTwo(shifted.high)};
}

// Halves are added until one lane is left: always the same tree.
inline float reduceAdd(Vec v) {
  const float32x4_t b = vaddq_f32(v.low, v.high);
  const float32x2_t c = vadd_f32(vget_low_f32(b), vget_high_f32(b));
  return vget_lane_f32(c, 0) + vget_lane_f32(c, 1);
}

inline float squareRoot(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }

// Interleaved pairs: (e*c - o*s, o*c + e*s), each product and sum rounded. c and s hold every value twice.
inline float32x4_t rotate(float32x4_t x, float32x4_t c, float32x4_t s) {
  const uint32x4_t evenSign = vreinterpretq_u32_u64(vdupq_n_u64(0x80000000u));
  const uint32x4_t crossed = vreinterpretq_u32_f32(vmulq_f32(vrev64q_f32(x), s));
  return vaddq_f32(vmulq_f32(x, c), vreinterpretq_f32_u32(veorq_u32(crossed, evenSign)));
}
inline Vec rotate(Vec x, Vec c, Vec s) { return {rotate(x.low, c.low, s.low), rotate(x.high, c.high, s.high)}; }

// Integers whose order is that of the floats (no NaN, no -0), and which of them are above or equal to a limit.
struct Keys {
  int32x4_t low, high;
};
inline Keys loadKeys(const int32_t* p) { return {vld1q_s32(p), vld1q_s32(p + 4)}; }
inline void storeKeys(int32_t* p, Keys keys) {
  vst1q_s32(p, keys.low);
  vst1q_s32(p + 4, keys.high);
}
inline int32x4_t keysOf(float32x4_t v) {
  const int32x4_t bits = vreinterpretq_s32_f32(v);
  const uint32x4_t sign = vreinterpretq_u32_s32(vshrq_n_s32(bits, 31));
  return veorq_s32(bits, vreinterpretq_s32_u32(vshrq_n_u32(sign, 1)));
}
inline Keys keysOf(Vec v) { return {keysOf(v.low), keysOf(v.high)}; }
inline Bits maskBits(Mask m) {
  constexpr uint16_t places[kLanes] = {1, 2, 4, 8, 16, 32, 64, 128};
  return vaddvq_u16(vandq_u16(vcombine_u16(vmovn_u32(m.low), vmovn_u32(m.high)), vld1q_u16(places)));
}
inline Bits aboveBits(Keys keys, int32_t limit) {
  return maskBits({vcgtq_s32(keys.low, vdupq_n_s32(limit)), vcgtq_s32(keys.high, vdupq_n_s32(limit))});
}
inline Bits equalBits(Keys keys, int32_t limit) {
  return maskBits({vceqq_s32(keys.low, vdupq_n_s32(limit)), vceqq_s32(keys.high, vdupq_n_s32(limit))});
}
inline int64_t countBits(Bits bits) { return __builtin_popcount(bits); }

// Asks for the cache line of p.
inline void prefetch(const float* p) { __builtin_prefetch(p, 0, 3); }

// to[j][i] = from[i][j] for 4 x 4.
inline void transpose4(const float* from, int64_t fromRow, float* to, int64_t toRow) {
  const float32x4_t a = vld1q_f32(from), b = vld1q_f32(from + fromRow);
  const float32x4_t c = vld1q_f32(from + 2 * fromRow), d = vld1q_f32(from + 3 * fromRow);
  const float64x2_t ab = vreinterpretq_f64_f32(vtrn1q_f32(a, b)), ab1 = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
  const float64x2_t cd = vreinterpretq_f64_f32(vtrn1q_f32(c, d)), cd1 = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
  vst1q_f32(to, vreinterpretq_f32_f64(vtrn1q_f64(ab, cd)));
  vst1q_f32(to + toRow, vreinterpretq_f32_f64(vtrn1q_f64(ab1, cd1)));
  vst1q_f32(to + 2 * toRow, vreinterpretq_f32_f64(vtrn2q_f64(ab, cd)));
  vst1q_f32(to + 3 * toRow, vreinterpretq_f32_f64(vtrn2q_f64(ab1, cd1)));
}

// The same for 8 x 8.
inline void transpose8(const float* from, int64_t fromRow, float* to, int64_t toRow) {
  for (int64_t i = 0; i < 8; i += 4)
    for (int64_t j = 0; j < 8; j += 4) transpose4(from + i * fromRow + j, fromRow, to + j * toRow + i, toRow);
}
