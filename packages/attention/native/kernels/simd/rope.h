// RoPE for any vector width: products and sums are rounded one by one, so that every instruction set gives the bits of
// ../generic/rope.h.
#pragma once

#include "../common/rope.h"
#include "math.h"

namespace megamoe::attention::simd {

// Every value twice, for interleaved pairs.
static inline void doubled(const float* from, float sign, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; i++) to[2 * i] = to[2 * i + 1] = sign * from[i];
}

template <class V>
static inline void rotateHead(float* x, const float* c, const float* s, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store(x + i, V::rotate(V::load(x + i), V::load(c + i), V::load(s + i)));
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    const typename V::Reg cosines = V::loadFirst(c + i, rest), sines = V::loadFirst(s + i, rest);
    V::storeFirst(x + i, rest, V::rotate(V::loadFirst(x + i, rest), cosines, sines));
  }
}

template <class V>
static inline void rotatePairs(const Pairs& p) {
  constexpr std::int64_t kPairs = 64;
  float c[2 * kPairs], s[2 * kPairs];
  for (std::int64_t i = 0; i < p.count; i += kPairs) {
    const std::int64_t n = least(kPairs, p.count - i);
    doubled(p.cos + i, 1.0f, n, c);
    doubled(p.sin + i, p.sign, n, s);
    for (std::int64_t h = 0; h < p.heads; h++) rotateHead<V>(p.x + h * p.d + 2 * i, c, s, 2 * n);
  }
}

}  // namespace megamoe::attention::simd
