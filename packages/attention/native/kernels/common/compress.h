// Closing windows into entries: which tokens are candidates, and what is done with their pooled value. Included inside
// an instruction set's namespace, after its Candidate, poolChannels, sumOfSquares, squareRoot and rotatePairs.

// Where the token at `position` (in its window's row j) lies: in this call's rows, in the open window, or, older, in
// the overlap. `half` selects the channels: 0 for the first `dim`, 1 for the second.
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
    poolChannels(candidates, count, p.dim, entry);
    const float mean = sumOfSquares(entry, p.dim) / static_cast<float>(p.dim);
    const float inverse = 1.0f / squareRoot(mean + p.rmsNormEps);
    for (int64_t c = 0; c < p.dim; c++) entry[c] = (entry[c] * inverse) * p.norm[c];
    const int64_t pairs = p.ropeDim / 2;
    rotatePairs(entry + p.dim - p.ropeDim, 1, p.dim, p.cos + i * pairs, p.sin + i * pairs, 1.0f, pairs);
  }
}
