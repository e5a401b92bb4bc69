// Folds `block` keys into the running softmax of one head. The accumulator is the output row.
inline void foldBlock(const float* const* keys, int64_t block, int64_t d, const float* q, float scale, float* max,
                      float* sum, float* out) {
  float weights[kKeyBlock];
  const float before = *max;
  float top = before;
  for (int64_t j = 0; j < block; j++) {
    const float s = dot(q, keys[j], d) * scale;
    weights[j] = s;
    if (!(s <= top)) top = s;  // a NaN is kept, and shows in the output
  }
  if (top == -std::numeric_limits<float>::infinity()) return;  // nothing but weights of zero so far
  if (top != before) {
    const float shrink = expNonPositive(before - top);
    *sum = *sum * shrink;
    for (int64_t i = 0; i < d; i++) out[i] = out[i] * shrink;
    *max = top;
  }
  for (int64_t j = block; j < kKeyBlock; j++) weights[j] = top;
  for (int64_t j = 0; j < kKeyBlock; j++) weights[j] = expNonPositive(weights[j] - top);
  float total = *sum;
  for (int64_t j = 0; j < block; j++) total = total + weights[j];
  *sum = total;
  int64_t j = 0;
  for (; j + 4 <= block; j += 4) addFour(out, keys[j], keys[j + 1], keys[j + 2], keys[j + 3], weights + j, d);
  for (; j < block; j++) addOne(out, keys[j], weights[j], d);
}

// Adds the sink to the denominator and divides.
inline void finishHead(float max, float sum, float sink, float* out, int64_t d) {
  const float infinity = std::numeric_limits<float>::infinity();
  if (sum == 0.0f || sink == infinity) {  // no keys, or a sink that takes everything
    for (int64_t i = 0; i < d; i++) out[i] = 0.0f;
    return;
  }
  const float top = sink > max ? sink : max;
  const float keep = expNonPositive(max - top);
  const float total = sum * keep + expNonPositive(sink - top);
  const float weight = keep / total;
  for (int64_t i = 0; i < d; i++) out[i] = out[i] * weight;
}

inline int64_t attendScratch(const AttendParams& p) { return 2 * p.headBlock; }

inline void attend(const AttendParams& p, int64_t begin, int64_t end, float* scratch) {
  const int64_t headBlocks = (p.heads + p.headBlock - 1) / p.headBlock;
  float* const max = scratch;
  float* const sum = scratch + p.headBlock;
  for (int64_t item = begin; item < end; item++) {
    const int64_t r = item / headBlocks;
    const int64_t h0 = (item % headBlocks) * p.headBlock;
    const int64_t heads = std::min(p.headBlock, p.heads - h0);
    const int64_t at = (r * p.heads + h0) * p.d;
    for (int64_t h = 0; h < heads; h++) {
      max[h] = -std::numeric_limits<float>::infinity();
      sum[h] = 0.0f;
    }
    for (int64_t i = 0; i < heads * p.d; i++) p.out[at + i] = 0.0f;
    const int64_t count = keyCount(p, r);
    for (int64_t k0 = 0; k0 < count; k0 += kKeyBlock) {
      const int64_t block = std::min(kKeyBlock, count - k0);
      const float* keys[kKeyBlock];
      for (int64_t j = 0; j < block; j++) keys[j] = keyRow(p, r, k0 + j);
      // A block of keys stays in cache while every head passes over it.
      for (int64_t h = 0; h < heads; h++) {
        foldBlock(keys, block, p.d, p.q + at + h * p.d, p.softmaxScale, &max[h], &sum[h], p.out + at + h * p.d);
      }
    }
    for (int64_t h = 0; h < heads; h++) finishHead(max[h], sum[h], p.sinks[h0 + h], p.out + at + h * p.d, p.d);
  }
}
