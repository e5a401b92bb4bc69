// Indexer scores: queries of one row, a lane for each head, against entries; relu, and the weighted sum over heads.
#pragma once

#include "../common/pages.h"
#include "pack.h"

namespace megamoe::attention::simd {

// Entries whose scores are held at a time: narrow tiles pass over them more often, so fewer must stay in the
// first-level cache.
template <class V>
constexpr std::int64_t kEntryTile = 3 * V::kLanes;

template <class V>
static std::int64_t scoreScratch(const IndexSelectParams& p) {
  const std::int64_t padded = roundUp(p.heads, V::kLanes);
  return padded * (p.dim + kEntryTile<V> + 1);
}

template <class V>
static void indexScores(const IndexSelectParams& p, std::int64_t r, std::int64_t begin, std::int64_t end, float* scores,
                        float* scratch) {
  const std::int64_t padded = roundUp(p.heads, V::kLanes);
  float* const queries = scratch;                            // [dim, padded]
  float* const products = queries + p.dim * padded;          // [kEntryTile, padded]
  float* const weights = products + kEntryTile<V> * padded;  // [padded]
  packQueries<V>(p.q + r * p.heads * p.dim, p.heads, p.dim, queries, padded);
  const float scale = 1.0f / (V::squareRoot(static_cast<float>(p.dim)) * V::squareRoot(static_cast<float>(p.heads)));
  const float* rowWeights = p.headWeights + r * p.heads;
  for (std::int64_t h = 0; h < padded; h++) weights[h] = h < p.heads ? rowWeights[h] * scale : 0.0f;
  const auto none = [] {};  // entries of a page lie in order: the processor sees what is next
  std::int64_t n = 0;
  for (std::int64_t w0 = begin; w0 < end; w0 += n) {
    n = least(least(kEntryTile<V>, end - w0), leftInPage(p, w0));
    const float* const keys = entryOf(p, r, w0);
    for (std::int64_t i = 0; i < p.dim; i += kChunk) {
      Product product = {};
      product.a = keys + i;
      product.aStep = p.dim;
      product.b = queries + i * padded;
      product.bStep = padded;
      product.depth = least(kChunk, p.dim - i);
      product.c = products;
      product.cRow = padded;
      if (i == 0) {
        multiply<V, Left::kRows, Into::kStore>(product, n, padded / V::kLanes, none);
      } else {
        multiply<V, Left::kRows, Into::kAdd>(product, n, padded / V::kLanes, none);
      }
    }
    for (std::int64_t j = 0; j < n; j++) {
      typename V::Reg sum = V::zero();
      for (std::int64_t h = 0; h < padded; h += V::kLanes) {
        const typename V::Reg activated = V::max(V::zero(), V::load(products + j * padded + h));  // a NaN goes on
        sum = V::fma(activated, V::load(weights + h), sum);
      }
      const float score = V::reduceAdd(sum) + 0.0f;          // never -0: the selection orders bits
      scores[w0 + j] = score != score ? -kInfinity : score;  // a NaN ranks last
    }
  }
}

}  // namespace megamoe::attention::simd
