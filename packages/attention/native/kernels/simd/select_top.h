// The k-th largest score is found bit by bit, from the sign down, by counting how many scores are at least a candidate:
// no branch depends on a single score, and most searches end early with a limit that exactly k scores reach.

inline int64_t countAbove(const int32_t* keys, int64_t n, int32_t limit) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += kLanes) count += countBits(aboveBits(loadKeys(keys + i), limit));
  return count;
}

// The topk best of `visible` > topk scores (no NaN, no -0), ascending; of those that equal the last value the first
// ones. order [visible rounded up to 16] is scratch.
inline void selectTop(const float* scores, float* order, int64_t visible, int64_t topk, int32_t* selected) {
  int32_t* const keys = reinterpret_cast<int32_t*>(order);
  const int32_t lowest = INT32_MIN;  // below the key of -Infinity
  int64_t i = 0;
  for (; i + kLanes <= visible; i += kLanes) storeKeys(keys + i, keysOf(load(scores + i)));
  if (i < visible) {
    float last[kLanes];
    store(last, loadPart(scores + i, visible - i));
    storeKeys(keys + i, keysOf(load(last)));
    for (int64_t k = visible; k < i + kLanes; k++) keys[k] = lowest;
  }
  int32_t limit = lowest;  // at least topk keys are >= limit
  int64_t reached = visible;
  for (int bit = 31; bit >= 0 && reached != topk; bit--) {
    const int32_t next = static_cast<int32_t>(static_cast<uint32_t>(limit) ^ (uint32_t{1} << bit));
    const int64_t count = countAbove(keys, visible, next - 1);
    if (count >= topk) {
      limit = next;
      reached = count;
    }
  }
  // How many that equal the limit are taken.
  int64_t ties = reached == topk ? topk : topk - countAbove(keys, visible, limit);
  int64_t count = 0;
  for (i = 0; count < topk; i += kLanes) {
    const Keys k = loadKeys(keys + i);
    const Bits above = aboveBits(k, limit), equal = equalBits(k, limit);
    for (Bits left = above | equal; left != 0 && count < topk; left &= left - 1) {
      const Bits lane = left & (0u - left);
      if ((equal & lane) != 0 && ties-- <= 0) continue;
      selected[count++] = static_cast<int32_t>(i + countBits(lane - 1));
    }
  }
}
