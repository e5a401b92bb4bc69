// The k-th largest score is found bit by bit, from the sign down, by counting how many scores are at least a candidate:
// no branch depends on a single score, and most searches end early with a limit that exactly k scores reach.
#pragma once

#include <cstdint>

namespace megamoe::attention::simd {

template <class V>
static inline std::int64_t countAbove(const std::int32_t* keys, std::int64_t n, std::int32_t limit) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; i += V::kLanes) count += V::countBits(V::aboveBits(V::loadKeys(keys + i), limit));
  return count;
}

// The topk best of `visible` > topk scores (no NaN, no -0), ascending; of those that equal the last value the first
// ones. order [visible rounded up to kSelectPad] is scratch.
template <class V>
static void selectTop(const float* scores, float* order, std::int64_t visible, std::int64_t topk,
                      std::int32_t* selected) {
  std::int32_t* const keys = reinterpret_cast<std::int32_t*>(order);
  const std::int32_t lowest = INT32_MIN;  // below the key of -Infinity
  std::int64_t i = 0;
  for (; i + V::kLanes <= visible; i += V::kLanes) V::storeKeys(keys + i, V::keysOf(V::load(scores + i)));
  if (i < visible) {
    float last[V::kLanes];
    V::store(last, V::loadFirst(scores + i, static_cast<int>(visible - i)));
    V::storeKeys(keys + i, V::keysOf(V::load(last)));
    for (std::int64_t k = visible; k < i + V::kLanes; k++) keys[k] = lowest;
  }
  std::int32_t limit = lowest;  // at least topk keys are >= limit
  std::int64_t reached = visible;
  for (int bit = 31; bit >= 0 && reached != topk; bit--) {
    const std::int32_t next = static_cast<std::int32_t>(static_cast<std::uint32_t>(limit) ^ (std::uint32_t{1} << bit));
    const std::int64_t count = countAbove<V>(keys, visible, next - 1);
    if (count >= topk) {
      limit = next;
      reached = count;
    }
  }
  // How many that equal the limit are taken.
  std::int64_t ties = reached == topk ? topk : topk - countAbove<V>(keys, visible, limit);
  std::int64_t count = 0;
  for (i = 0; count < topk; i += V::kLanes) {
    const typename V::Keys k = V::loadKeys(keys + i);
    const unsigned above = V::aboveBits(k, limit), equal = V::equalBits(k, limit);
    for (unsigned left = above | equal; left != 0 && count < topk; left &= left - 1) {
      const unsigned lane = left & (0u - left);
      if ((equal & lane) != 0 && ties-- <= 0) continue;
      selected[count++] = static_cast<std::int32_t>(i + V::countBits(lane - 1));
    }
  }
}

}  // namespace megamoe::attention::simd
