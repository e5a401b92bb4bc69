// Closing windows into entries: which tokens are candidates, and what is done with their pooled value. Included inside
// an instruction set's namespace, after its Candidate, poolChannels, sumOfSquares, squareRoot and rotatePairs.

// The candidates of a closing. Before the first window there are none (-1), which is weight 0.
inline int64_t findCandidates(const CompressParams& p, int64_t i, Candidate* found) {
  const int32_t* rows = p.candidates + i * p.candidatesPerEntry;
  const int64_t overlap = p.width == 2 * p.dim ? p.candidatesPerEntry / 2 : 0;
  int64_t count = 0;
  for (int64_t j = 0; j < p.candidatesPerEntry; j++) {
    if (rows[j] < 0) continue;
    const int64_t at = rows[j] * p.width + (j < overlap ? 0 : p.width - p.dim);
    found[count++] = {p.openKv + at, p.openGate + at};
  }
  return count;
}

inline void compressWindows(const CompressParams& p, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) {
    Candidate candidates[kMaxCandidates];
    const int64_t count = findCandidates(p, i, candidates);
    float* entry = p.entries + p.entryRow[i] * p.dim;
    poolChannels(candidates, count, p.dim, entry);
    const float mean = sumOfSquares(entry, p.dim) / static_cast<float>(p.dim);
    const float inverse = 1.0f / squareRoot(mean + p.rmsNormEps);
    for (int64_t c = 0; c < p.dim; c++) entry[c] = (entry[c] * inverse) * p.norm[c];
    const int64_t pairs = p.ropeDim / 2;
    rotatePairs(entry + p.dim - p.ropeDim, 1, p.dim, p.cos + i * pairs, p.sin + i * pairs, 1.0f, pairs);
  }
}
