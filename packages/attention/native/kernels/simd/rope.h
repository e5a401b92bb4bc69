// RoPE: products and sums are rounded one by one, so that every instruction set gives the bits of ../generic/rope.h.

// Every value twice, for interleaved pairs.
inline void doubled(const float* from, float sign, int64_t n, float* to) {
  for (int64_t i = 0; i < n; i++) to[2 * i] = to[2 * i + 1] = sign * from[i];
}

inline void rotateHead(float* x, const float* c, const float* s, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(x + i, rotate(load(x + i), load(c + i), load(s + i)));
  if (i < n) {
    const int64_t rest = n - i;
    storePart(x + i, rotate(loadPart(x + i, rest), loadPart(c + i, rest), loadPart(s + i, rest)), rest);
  }
}

// Rotates the same pairs of `heads` rows that lie d apart.
inline void rotatePairs(float* x, int64_t heads, int64_t d, const float* cos, const float* sin, float sign,
                        int64_t pairs) {
  constexpr int64_t kPairs = 64;
  float c[2 * kPairs], s[2 * kPairs];
  for (int64_t i = 0; i < pairs; i += kPairs) {
    const int64_t n = least(kPairs, pairs - i);
    doubled(cos + i, 1.0f, n, c);
    doubled(sin + i, sign, n, s);
    for (int64_t h = 0; h < heads; h++) rotateHead(x + h * d + 2 * i, c, s, 2 * n);
  }
}

inline void rope(const RopeParams& p, int64_t begin, int64_t end) {
  const int64_t pairs = p.ropeDim / 2;
  for (int64_t r = begin; r < end; r++) {
    float* first = p.x + r * p.heads * p.d + p.d - p.ropeDim;
    rotatePairs(first, p.heads, p.d, p.cos + r * pairs, p.sin + r * pairs, p.inverse ? -1.0f : 1.0f, pairs);
  }
}
