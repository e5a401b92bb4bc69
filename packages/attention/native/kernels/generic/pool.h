// One candidate of an entry: a token's values and gates for this entry's channels.
struct Candidate {
  const float *kv, *gate;
};

// Softmax-weighted sum per channel over the candidates, in order, for channels [c0, c0 + n).
inline void poolTile(const Candidate* candidates, int64_t count, int64_t c0, int64_t n, float* out) {
  constexpr int64_t kTile = 64;
  float weight[kMaxCandidates][kTile], top[kTile], total[kTile], pooled[kTile];
  for (int64_t c = 0; c < n; c++) top[c] = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < count; j++) {
    const float* g = candidates[j].gate + c0;
    for (int64_t c = 0; c < n; c++) weight[j][c] = g[c];
    for (int64_t c = 0; c < n; c++) top[c] = weight[j][c] <= top[c] ? top[c] : weight[j][c];
  }
  for (int64_t c = 0; c < n; c++) total[c] = 0.0f;
  for (int64_t j = 0; j < count; j++) {
    for (int64_t c = 0; c < n; c++) {
      weight[j][c] = expNonPositive(weight[j][c] - top[c]);
      total[c] = total[c] + weight[j][c];
    }
  }
  for (int64_t c = 0; c < n; c++) pooled[c] = 0.0f;
  for (int64_t j = 0; j < count; j++) {
    const float* v = candidates[j].kv + c0;
    for (int64_t c = 0; c < n; c++) pooled[c] = pooled[c] + v[c] * (weight[j][c] / total[c]);
  }
  for (int64_t c = 0; c < n; c++) out[c0 + c] = pooled[c];
}

inline void poolChannels(const Candidate* candidates, int64_t count, int64_t dim, float* out) {
  for (int64_t c0 = 0; c0 < dim; c0 += 64) poolTile(candidates, count, c0, std::min<int64_t>(64, dim - c0), out);
}

inline float sumOfSquares(const float* x, int64_t n) { return dot(x, x, n); }

inline float squareRoot(float x) { return std::sqrt(x); }
