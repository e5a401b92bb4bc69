// All kernels for any vector width, for the lanes V of an instruction set.
#pragma once

#include "../common/compress.h"
#include "../range_kernels.h"
#include "attend.h"
#include "index_scores.h"
#include "pool.h"
#include "rope.h"
#include "select_top.h"

namespace megamoe::attention::simd {

// Multiply-adds that are worth another thread: some twenty microseconds.
constexpr std::int64_t kRangeWork = std::int64_t{1} << 20;

// What the templates of ../common ask for.
template <class V>
struct Set {
  static void rotatePairs(const Pairs& p) { simd::rotatePairs<V>(p); }
  static void poolChannels(const Candidate* candidates, std::int64_t count, std::int64_t dim, float* out) {
    simd::poolChannels<V>(candidates, count, dim, out);
  }
  static float sumOfSquares(const float* x, std::int64_t n) { return simd::sumOfSquares<V>(x, n); }
  static float squareRoot(float x) { return V::squareRoot(x); }
};

template <class V>
constexpr RangeKernels rangeKernels() {
  RangeKernels k;
  k.rangeWork = kRangeWork;
  k.rope = ropeRows<Set<V>>;
  k.compressWindows = compressWindows<Set<V>>;
  k.scoreScratch = scoreScratch<V>;
  k.indexScores = indexScores<V>;
  k.selectTop = selectTop<V>;
  k.attendSizes = attendSizes<V>;
  k.attend = attend<V>;
  k.attendJoin = attendJoin<V>;
  return k;
}

}  // namespace megamoe::attention::simd
