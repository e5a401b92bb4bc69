inline int64_t scoreScratch(const IndexSelectParams&) { return 0; }

inline void indexScores(const IndexSelectParams& p, int64_t r, int64_t begin, int64_t end, float* scores, float*) {
  const float dimScale = 1.0f / std::sqrt(static_cast<float>(p.dim));
  const float headScale = 1.0f / std::sqrt(static_cast<float>(p.heads));
  const float* q = p.q + r * p.heads * p.dim;
  const float* weights = p.headWeights + r * p.heads;
  for (int64_t w = begin; w < end; w++) {
    const float* key = entryOf(p, r, w);
    float sum = 0.0f;
    for (int64_t h = 0; h < p.heads; h++) {
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
inline void selectTop(const float* scores, float* order, int64_t visible, int64_t topk, int32_t* selected) {
  std::memcpy(order, scores, static_cast<size_t>(visible) * sizeof(float));
  std::nth_element(order, order + (topk - 1), order + visible, std::greater<float>());
  const float threshold = order[topk - 1];
  int64_t ties = topk;
  for (int64_t w = 0; w < visible; w++) ties -= scores[w] > threshold;
  int64_t count = 0;
  for (int64_t w = 0; count < topk; w++) {
    if (scores[w] > threshold) {
      selected[count++] = static_cast<int32_t>(w);
    } else if (scores[w] == threshold && ties > 0) {
      ties--;
      selected[count++] = static_cast<int32_t>(w);
    }
  }
}
