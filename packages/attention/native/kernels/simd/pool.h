// Softmax-weighted sum per channel over the candidates of an entry: the numerator and the denominator grow together and
// are divided once.

// One candidate: a token's values and gates for the entry's channels.
struct Candidate {
  const float *kv, *gate;
};

inline Vec loadUpTo(const float* p, int64_t n) { return n >= kLanes ? load(p) : loadPart(p, n); }

// `width` vectors side by side hide the latency of the exponentials; n channels are left.
template <int width>
inline void poolVectors(const Candidate* candidates, int64_t count, int64_t c0, int64_t n, float* out) {
  Vec top[width], total[width], pooled[width];
  for (int v = 0; v < width; v++) {
    top[v] = all(-kInfinity);
    total[v] = pooled[v] = zero();
  }
  for (int64_t j = 0; j < count; j++) {
    for (int v = 0; v < width; v++)
      top[v] = maxOr(top[v], loadUpTo(candidates[j].gate + c0 + v * kLanes, n - v * kLanes));
  }
  for (int64_t j = 0; j < count; j++) {
    for (int v = 0; v < width; v++) {
      const int64_t c = c0 + v * kLanes;
      const Vec e = expNonPositive(sub(loadUpTo(candidates[j].gate + c, n - v * kLanes), top[v]));
      total[v] = add(total[v], e);
      pooled[v] = fma(e, loadUpTo(candidates[j].kv + c, n - v * kLanes), pooled[v]);
    }
  }
  for (int v = 0; v < width; v++) {
    const int64_t c = c0 + v * kLanes, rest = n - v * kLanes;
    const Vec value = div(pooled[v], total[v]);
    if (rest >= kLanes) {
      store(out + c, value);
    } else {
      storePart(out + c, value, rest);
    }
  }
}

inline void poolChannels(const Candidate* candidates, int64_t count, int64_t dim, float* out) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= dim; c += 4 * kLanes) poolVectors<4>(candidates, count, c, 4 * kLanes, out);
  for (; c < dim; c += kLanes) poolVectors<1>(candidates, count, c, dim - c, out);
}
