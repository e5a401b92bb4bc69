inline void indexScores(const IndexSelectParams& p, int64_t r, int64_t begin, int64_t end, float* scores) {
  const float dimScale = 1.0f / std::sqrt(static_cast<float>(p.dim));
  const float headScale = 1.0f / std::sqrt(static_cast<float>(p.heads));
  const float* q = p.q + (p.row0 + r) * p.heads * p.dim;
  const float* weights = p.headWeights + (p.row0 + r) * p.heads;
  for (int64_t w = begin; w < end; w++) {
    const float* key = p.entries + w * p.dim;
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
