// RoPE over rows for any instruction set.
#pragma once

#include <cstdint>

#include "../params.h"

namespace megamoe::attention {

// The same pairs of `heads` rows that lie d apart. Every product and sum is rounded: (e, o) -> (e*c - o*s, o*c + e*s)
// with s = sign * sin, the same bits everywhere.
struct Pairs {
  float* x;  // the first pair of the first row
  std::int64_t heads, d;
  const float *cos, *sin;  // [count]
  float sign;
  std::int64_t count;
};

// Set::rotatePairs(const Pairs&) does the work.
template <class Set>
static void ropeRows(const RopeParams& p, std::int64_t begin, std::int64_t end) {
  const std::int64_t pairs = p.ropeDim / 2;
  for (std::int64_t r = begin; r < end; r++) {
    float* first = p.x + r * p.heads * p.d + p.d - p.ropeDim;
    Set::rotatePairs({first, p.heads, p.d, p.cos + r * pairs, p.sin + r * pairs, p.inverse ? -1.0f : 1.0f, pairs});
  }
}

}  // namespace megamoe::attention
