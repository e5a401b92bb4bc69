// Rotates `pairs` interleaved pairs: (e, o) -> (e*c - o*s, o*c + e*s), each product and sum rounded, as torch does it.
inline void rotatePairs(float* x, const float* cos, const float* sin, float sign, int64_t pairs) {
  for (int64_t i = 0; i < pairs; i++) {
    const float c = cos[i], s = sign * sin[i];
    const float even = x[2 * i], odd = x[2 * i + 1];
    x[2 * i] = even * c - odd * s;
    x[2 * i + 1] = odd * c + even * s;
  }
}

inline void rope(const RopeParams& p, int64_t begin, int64_t end) {
  const int64_t pairs = p.ropeDim / 2;
  const float sign = p.inverse ? -1.0f : 1.0f;
  for (int64_t r = begin; r < end; r++) {
    for (int64_t h = 0; h < p.heads; h++) {
      float* head = p.x + (r * p.heads + h + 1) * p.d - p.ropeDim;
      rotatePairs(head, p.cos + r * pairs, p.sin + r * pairs, sign, pairs);
    }
  }
}
