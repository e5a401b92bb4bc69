// Indexer scores: queries of one row, a lane for each head, against entries; relu, and the weighted sum over heads.

// Entries whose scores are held at a time: narrow tiles pass over them more often, so fewer must stay in the
// first-level cache.
constexpr int64_t kEntryTile = 3 * kLanes;

inline int64_t scoreScratch(const IndexSelectParams& p) {
  const int64_t padded = roundUp(p.heads, kLanes);
  return padded * (p.dim + kEntryTile + 1);
}

inline void indexScores(const IndexSelectParams& p, int64_t r, int64_t begin, int64_t end, float* scores,
                        float* scratch) {
  const int64_t padded = roundUp(p.heads, kLanes);
  float* const queries = scratch;                         // [dim, padded]
  float* const products = queries + p.dim * padded;       // [kEntryTile, padded]
  float* const weights = products + kEntryTile * padded;  // [padded]
  packQueries(p.q + r * p.heads * p.dim, p.heads, p.dim, queries, padded);
  const float scale = 1.0f / (squareRoot(static_cast<float>(p.dim)) * squareRoot(static_cast<float>(p.heads)));
  const float* rowWeights = p.headWeights + r * p.heads;
  for (int64_t h = 0; h < padded; h++) weights[h] = h < p.heads ? rowWeights[h] * scale : 0.0f;
  const auto none = [] {};  // entries of a page lie in order: the processor sees what is next
  int64_t n = 0;
  for (int64_t w0 = begin; w0 < end; w0 += n) {
    n = least(least(kEntryTile, end - w0), leftInPage(p, w0));
    const float* const keys = entryOf(p, r, w0);
    for (int64_t i = 0; i < p.dim; i += kChunk) {
      const Product product{keys + i, p.dim,  queries + i * padded, padded, least(kChunk, p.dim - i), products,
                            padded,   nullptr};
      if (i == 0) {
        multiply<Left::kRows, Into::kStore>(product, n, padded / kLanes, none);
      } else {
        multiply<Left::kRows, Into::kAdd>(product, n, padded / kLanes, none);
      }
    }
    for (int64_t j = 0; j < n; j++) {
      Vec sum = zero();
      for (int64_t h = 0; h < padded; h += kLanes) {
        const Vec activated = maxOr(zero(), load(products + j * padded + h));  // relu; a NaN goes on
        sum = fma(activated, load(weights + h), sum);
      }
      const float score = reduceAdd(sum) + 0.0f;             // never -0: the selection orders bits
      scores[w0 + j] = score != score ? -kInfinity : score;  // a NaN ranks last
    }
  }
}
