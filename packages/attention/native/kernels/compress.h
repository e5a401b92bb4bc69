// One candidate of an entry: a token's values and gates for this entry's channels. `ape` is null when the gates have it already.
struct Candidate {
  const float *kv, *gate, *ape;
};

// Where the token at `position` (in its window's row j) lies: in this call's rows, in the open window, or, older, in the overlap.
// `half` selects the channels: 0 for the first `dim`, 1 for the second.
inline Candidate findToken(const CompressParams& p, int64_t position, int64_t j, int64_t half) {
  const int64_t shift = half * p.dim;
  if (position >= p.p0) {
    const int64_t at = (p.row0 + position - p.p0) * p.width + shift;
    return {p.kv + at, p.gate + at, p.ape + j * p.width + shift};
  }
  if (position >= p.p0 - p.p0 % p.ratio) {
    const int64_t at = j * p.width + shift;
    return {p.partialKv + at, p.partialGate + at, nullptr};
  }
  return {p.overlapKv + j * p.dim, p.overlapGate + j * p.dim, nullptr};
}

// Softmax-weighted sum per channel over the candidates, in order, for channels [c0, c0 + n).
inline void poolTile(const Candidate* candidates, int64_t count, int64_t c0, int64_t n, float* out) {
  constexpr int64_t kTile = 64;
  float weight[kMaxCandidates][kTile], top[kTile], total[kTile], pooled[kTile];
  for (int64_t c = 0; c < n; c++) top[c] = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < count; j++) {
    const float* g = candidates[j].gate + c0;
    const float* a = candidates[j].ape;
    if (a != nullptr) {
      for (int64_t c = 0; c < n; c++) weight[j][c] = g[c] + a[c0 + c];
    } else {
      for (int64_t c = 0; c < n; c++) weight[j][c] = g[c];
    }
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

inline void compressWindows(const CompressParams& p, int64_t begin, int64_t end) {
  const bool overlaps = p.width == 2 * p.dim;
  const int64_t first = p.p0 / p.ratio;
  for (int64_t i = begin; i < end; i++) {
    const int64_t w = first + i;
    Candidate candidates[kMaxCandidates];
    int64_t count = 0;
    if (overlaps) {  // the previous window through its first half; before window 0 the overlap holds (0, -Infinity)
      for (int64_t j = 0; j < p.ratio; j++) candidates[count++] = findToken(p, (w - 1) * p.ratio + j, j, 0);
    }
    for (int64_t j = 0; j < p.ratio; j++) candidates[count++] = findToken(p, w * p.ratio + j, j, overlaps ? 1 : 0);
    float* entry = p.entries + w * p.dim;
    for (int64_t c0 = 0; c0 < p.dim; c0 += 64) poolTile(candidates, count, c0, std::min<int64_t>(64, p.dim - c0), entry);
    const float mean = dot(entry, entry, p.dim) / static_cast<float>(p.dim);
    const float inverse = 1.0f / std::sqrt(mean + p.rmsNormEps);
    for (int64_t c = 0; c < p.dim; c++) entry[c] = (entry[c] * inverse) * p.norm[c];
    const int64_t pairs = p.ropeDim / 2;
    rotatePairs(entry + p.dim - p.ropeDim, p.cos + i * pairs, p.sin + i * pairs, 1.0f, pairs);
  }
}
