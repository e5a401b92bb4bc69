// Rotates `pairs` interleaved pairs of each of `heads` rows that lie d apart: (e, o) -> (e*c - o*s, o*c + e*s), each
// product and sum rounded, as torch does it.
inline void rotatePairs(float* x, int64_t heads, int64_t d, const float* cos, const float* sin, float sign,
                        int64_t pairs) {
  for (int64_t h = 0; h < heads; h++) {
    float* head = x + h * d;
    for (int64_t i = 0; i < pairs; i++) {
      const float c = cos[i], s = sign * sin[i];
      const float even = head[2 * i], odd = head[2 * i + 1];
      head[2 * i] = even * c - odd * s;
      head[2 * i + 1] = odd * c + even * s;
    }
  }
}

inline void rope(const RopeParams& p, int64_t begin, int64_t end) {
  const int64_t pairs = p.ropeDim / 2;
  for (int64_t r = begin; r < end; r++) {
    float* first = p.x + r * p.heads * p.d + p.d - p.ropeDim;
    rotatePairs(first, p.heads, p.d, p.cos + r * pairs, p.sin + r * pairs, p.inverse ? -1.0f : 1.0f, pairs);
  }
}
