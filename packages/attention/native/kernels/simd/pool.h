// Softmax-weighted sum per channel over the candidates of an entry: the numerator and the denominator grow together and
// are divided once.
#pragma once

#include "../common/compress.h"
#include "math.h"

namespace megamoe::attention::simd {

// `width` vectors side by side hide the latency of the exponentials; n channels are left.
template <class V, int width>
static inline void poolVectors(const Candidate* candidates, std::int64_t count, std::int64_t c0, std::int64_t n,
                               float* out) {
  using Reg = typename V::Reg;
  Reg top[width], total[width], pooled[width];
  for (int v = 0; v < width; v++) {
    top[v] = V::splat(-kInfinity);
    total[v] = pooled[v] = V::zero();
  }
  for (std::int64_t j = 0; j < count; j++) {
    for (int v = 0; v < width; v++)
      top[v] = V::max(top[v], loadUpTo<V>(candidates[j].gate + c0 + v * V::kLanes, n - v * V::kLanes));
  }
  for (std::int64_t j = 0; j < count; j++) {
    for (int v = 0; v < width; v++) {
      const std::int64_t c = c0 + v * V::kLanes;
      const Reg e = expNonPositive<V>(V::sub(loadUpTo<V>(candidates[j].gate + c, n - v * V::kLanes), top[v]));
      total[v] = V::add(total[v], e);
      pooled[v] = V::fma(e, loadUpTo<V>(candidates[j].kv + c, n - v * V::kLanes), pooled[v]);
    }
  }
  for (int v = 0; v < width; v++)
    storeUpTo<V>(out + c0 + v * V::kLanes, n - v * V::kLanes, V::div(pooled[v], total[v]));
}

template <class V>
static inline void poolChannels(const Candidate* candidates, std::int64_t count, std::int64_t dim, float* out) {
  std::int64_t c = 0;
  for (; c + 4 * V::kLanes <= dim; c += 4 * V::kLanes) poolVectors<V, 4>(candidates, count, c, 4 * V::kLanes, out);
  for (; c < dim; c += V::kLanes) poolVectors<V, 1>(candidates, count, c, dim - c, out);
}

}  // namespace megamoe::attention::simd
