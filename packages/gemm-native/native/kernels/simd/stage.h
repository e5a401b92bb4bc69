// ModelOpt's activation quantizer for any vector width, with the bits of ../generic/stage.cc: true divisions, float32
// at every step.
//
// Two phases over kChunk elements, which stay in the first-level cache: all scales, then all codes. In one loop every
// block would wait for its own chain of maximum, division and broadcast.
//
// V has lanes of a float32 (Reg) and of an integer of 32 bits (Ints), and what differs more than in width:
// blockMaxima(x, blocks), whose lane i is the largest magnitude of block i of V::kLanes, those from `blocks` on
// counting as zeros; and how scales and codes are packed.
#pragma once

#include <cstdint>

#include "../nvfp4/kernels.h"
#include "ranges.h"

namespace megamoe::gemm::simd {

constexpr std::int64_t kStageChunk = 2048;

// Elements whose codes are packed together, from four registers, and whose scales are computed together.
template <class V>
constexpr std::int64_t kCodeGroup = 4 * V::kLanes;
template <class V>
constexpr std::int64_t kScaleGroup = kBlock* V::kLanes;

template <class V>
static inline typename V::Ints magnitude(typename V::Reg v) {
  return V::both(V::bits(v), V::splatInts(0x7fffffff));
}

// E4M3 codes of scales in [2^-9, 448], ties to even.
template <class V>
static inline typename V::Ints encodeScales(typename V::Reg s) {
  using Ints = typename V::Ints;
  const Ints bits = V::bits(s);
  const Ints odd = V::both(V::template shiftRight<20>(bits), V::splatInts(1));
  const Ints rounded = V::plus(V::plus(bits, V::splatInts(0x7ffff)), odd);
  const Ints normal = V::minus(V::template shiftRight<20>(rounded), V::splatInts(120 << 3));
  const Ints subnormal = V::nearest(V::mul(s, V::splat(512.f)));
  return V::choose(V::below(s, V::splat(0x1p-6f)), subnormal, normal);
}

// E2M1 codes of quotients. Adding 2^(e+22) to a number of exponent e rounds it, ties to even, to a multiple of 2^(e-1),
// the step between codes there (0.5 below 1, too); the low bits of the sum count the steps.
template <class V>
static inline typename V::Ints encodeCodes(typename V::Reg q) {
  using Ints = typename V::Ints;
  using Reg = typename V::Reg;
  const Reg a = V::min(V::floats(magnitude<V>(q)), V::splat(6.f));
  const Ints exponent = V::both(V::bits(V::max(a, V::splat(1.f))), V::splatInts(0x7f800000));
  const Ints magic = V::plus(exponent, V::splatInts(22 << 23));
  const Ints steps = V::minus(V::bits(V::add(a, V::floats(magic))), magic);
  // steps + 2 * (exponent - 127): codes 2 to 3, 4 to 5 and 6 to 7 begin at 1, 2 and 4.
  const Ints code = V::plus(steps, V::minus(V::template shiftRight<22>(exponent), V::splatInts(254)));
  return V::withBits(code, V::below(q, V::zero()), 8);  // -0 is not below zero
}

// Scales of up to V::kLanes blocks, and what their elements are divided by. Returns the largest magnitudes.
template <class V>
static inline typename V::Ints groupScales(const float* x, int blocks, float g, std::uint8_t* sf, float* steps) {
  using Reg = typename V::Reg;
  const typename V::Ints maxima = V::blockMaxima(x, blocks);
  Reg scale = V::div(V::floats(maxima), V::splat(6.f * g));
  scale = V::choose(V::equal(scale, V::zero()), V::splat(1.f), scale);
  scale = V::min(V::max(scale, V::splat(0x1p-9f)), V::splat(448.f));
  const typename V::Ints codes = encodeScales<V>(scale);
  V::storeBytes(sf, blocks, codes);
  const Reg value = V::mul(V::floats(V::template shiftLeft<20>(codes)), V::splat(0x1p120f));
  V::store(steps, V::mul(value, V::splat(g)));
  return maxima;
}

// Codes of one register of elements from x + i on.
template <class V>
static inline typename V::Ints codesAt(const float* x, std::int64_t i, const float* steps) {
  return encodeCodes<V>(V::div(V::load(x + i), V::splat(steps[i / kBlock])));
}

// What is `coming` is fetched while codes are computed, when nothing else asks for memory: without that, memory and
// arithmetic take turns.
template <class V>
static inline bool stageChunk(const float* x, std::int64_t n, float g, std::uint8_t* codes, std::uint8_t* sf,
                              nvfp4::Coming coming) {
  constexpr std::int64_t kGroup = kScaleGroup<V>, kCodes = kCodeGroup<V>;
  alignas(64) float steps[kStageChunk / kBlock];
  typename V::Ints most = V::splatInts(0);
  std::int64_t i = 0;
  for (; i + kGroup <= n; i += kGroup)
    most = V::larger(most, groupScales<V>(x + i, V::kLanes, g, sf + i / kBlock, steps + i / kBlock));
  if (i < n) {
    const int blocks = static_cast<int>((n - i) / kBlock);
    most = V::larger(most, groupScales<V>(x + i, blocks, g, sf + i / kBlock, steps + i / kBlock));
  }
  if (V::largest(most) >= 0x7f800000u) return false;  // infinity, and NaN above it
  typename V::Ints code[4];
  for (i = 0; i + kCodes <= n; i += kCodes) {
    if (i + kCodes <= coming.n)
      for (std::int64_t j = 0; j < kCodes; j += 16) V::prefetch(coming.at + i + j);
    for (int j = 0; j < 4; j++) code[j] = codesAt<V>(x, i + j * V::kLanes, steps);
    V::storeCodes(codes + i / 2, code);
  }
  if (i < n) {
    for (int j = 0; j < 4; j++)
      code[j] = i + j * V::kLanes < n ? codesAt<V>(x, i + j * V::kLanes, steps) : V::splatInts(0);
    V::storeFirstCodes(codes + i / 2, static_cast<int>((n - i) / 2), code);
  }
  return true;
}

template <class V>
static bool stageRow(const float* x, std::int64_t k, float g, std::uint8_t* codes, std::uint8_t* sf,
                     const float* next) {
  for (std::int64_t i = 0; i < k; i += kStageChunk) {
    const std::int64_t n = least(k - i, kStageChunk);
    const nvfp4::Coming coming = nvfp4::comingAfter(x, i, n, k, next);
    if (!stageChunk<V>(x + i, n, g, codes + i / 2, sf + i / kBlock, coming)) return false;
  }
  return true;
}

template <class V>
static std::uint32_t amaxBits(const float* x, std::int64_t n) {
  typename V::Ints most[4];
  for (int j = 0; j < 4; j++) most[j] = V::splatInts(0);
  std::int64_t i = 0;
  for (; i + kCodeGroup<V> <= n; i += kCodeGroup<V>)
    for (int j = 0; j < 4; j++) most[j] = V::larger(most[j], magnitude<V>(V::load(x + i + j * V::kLanes)));
  for (; i < n; i += V::kLanes) most[0] = V::larger(most[0], magnitude<V>(V::load(x + i)));
  return V::largest(V::larger(V::larger(most[0], most[1]), V::larger(most[2], most[3])));
}

}  // namespace megamoe::gemm::simd
