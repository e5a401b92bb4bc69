// Softmax-weighted sums of candidates.
#pragma once

#include <algorithm>
#include <limits>

#include "../common/compress.h"
#include "lanes.h"

namespace megamoe::attention::generic {

// Softmax-weighted sum per channel over the candidates, in order, for channels [c0, c0 + n).
static inline void poolTile(const Candidate* candidates, std::int64_t count, std::int64_t c0, std::int64_t n,
                            float* out) {
  constexpr std::int64_t kTile = 64;
  float weight[kMaxCandidates][kTile], top[kTile], total[kTile], pooled[kTile];
  for (std::int64_t c = 0; c < n; c++) top[c] = -std::numeric_limits<float>::infinity();
  for (std::int64_t j = 0; j < count; j++) {
    const float* g = candidates[j].gate + c0;
    for (std::int64_t c = 0; c < n; c++) weight[j][c] = g[c];
    for (std::int64_t c = 0; c < n; c++) top[c] = weight[j][c] <= top[c] ? top[c] : weight[j][c];
  }
  for (std::int64_t c = 0; c < n; c++) total[c] = 0.0f;
  for (std::int64_t j = 0; j < count; j++) {
    for (std::int64_t c = 0; c < n; c++) {
      weight[j][c] = expNonPositive(weight[j][c] - top[c]);
      total[c] = total[c] + weight[j][c];
    }
  }
  for (std::int64_t c = 0; c < n; c++) pooled[c] = 0.0f;
  for (std::int64_t j = 0; j < count; j++) {
    const float* v = candidates[j].kv + c0;
    for (std::int64_t c = 0; c < n; c++) pooled[c] = pooled[c] + v[c] * (weight[j][c] / total[c]);
  }
  for (std::int64_t c = 0; c < n; c++) out[c0 + c] = pooled[c];
}

static inline void poolChannels(const Candidate* candidates, std::int64_t count, std::int64_t dim, float* out) {
  for (std::int64_t c0 = 0; c0 < dim; c0 += 64)
    poolTile(candidates, count, c0, std::min<std::int64_t>(64, dim - c0), out);
}

}  // namespace megamoe::attention::generic
