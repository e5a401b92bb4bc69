// Scores of entries, and the best of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "../common/pages.h"
#include "lanes.h"

namespace megamoe::attention::generic {

static inline std::int64_t scoreScratch(const IndexSelectParams&) { return 0; }

static inline void indexScores(const IndexSelectParams& p, std::int64_t r, std::int64_t begin, std::int64_t end,
                               float* scores, float*) {
  const float dimScale = 1.0f / std::sqrt(static_cast<float>(p.dim));
  const float headScale = 1.0f / std::sqrt(static_cast<float>(p.heads));
  const float* q = p.q + r * p.heads * p.dim;
  const float* weights = p.headWeights + r * p.heads;
  for (std::int64_t w = begin; w < end; w++) {
    const float* key = entryOf(p, r, w);
    float sum = 0.0f;
    for (std::int64_t h = 0; h < p.heads; h++) {
      const float s = dot(q + h * p.dim, key, p.dim);
      const float activated = s <= 0.0f ? 0.0f : s * dimScale;  // relu; a NaN goes on
      sum = sum + activated * (weights[h] * headScale);
    }
    // A NaN ranks last, so that the selection ends and stays in range; it still shows in the attention output.
    scores[w] = sum != sum ? -std::numeric_limits<float>::infinity() : sum;
  }
}

// The topk best of `visible` > topk scores in ascending order of index; of those that equal the last value the first
// ones.
static inline void selectTop(const float* scores, float* order, std::int64_t visible, std::int64_t topk,
                             std::int32_t* selected) {
  std::memcpy(order, scores, static_cast<std::size_t>(visible) * sizeof(float));
  std::nth_element(order, order + (topk - 1), order + visible, std::greater<float>());
  const float threshold = order[topk - 1];
  std::int64_t ties = topk;
  for (std::int64_t w = 0; w < visible; w++) ties -= scores[w] > threshold;
  std::int64_t count = 0;
  for (std::int64_t w = 0; count < topk; w++) {
    if (scores[w] > threshold) {
      selected[count++] = static_cast<std::int32_t>(w);
    } else if (scores[w] == threshold && ties > 0) {
      ties--;
      selected[count++] = static_cast<std::int32_t>(w);
    }
  }
}

}  // namespace megamoe::attention::generic
