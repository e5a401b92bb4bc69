// RoPE as torch does it.
#pragma once

#include "../common/rope.h"

namespace megamoe::attention::generic {

static inline void rotatePairs(const Pairs& p) {
  for (std::int64_t h = 0; h < p.heads; h++) {
    float* head = p.x + h * p.d;
    for (std::int64_t i = 0; i < p.count; i++) {
      const float c = p.cos[i], s = p.sign * p.sin[i];
      const float even = head[2 * i], odd = head[2 * i + 1];
      head[2 * i] = even * c - odd * s;
      head[2 * i + 1] = odd * c + even * s;
    }
  }
}

}  // namespace megamoe::attention::generic
