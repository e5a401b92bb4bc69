// Closing windows into entries, for any instruction set: which tokens are candidates, and what is done with their
// pooled value.
#pragma once

#include <cstdint>

#include "../params.h"
#include "rope.h"

namespace megamoe::attention {

// One candidate of an entry: a token's values and gates for the entry's channels.
struct Candidate {
  const float *kv, *gate;
};

// The candidates of a closing. Before the first window there are none (-1), which is weight 0.
static inline std::int64_t findCandidates(const CompressParams& p, std::int64_t i, Candidate* found) {
  const std::int32_t* rows = p.candidates + i * p.candidatesPerEntry;
  const std::int64_t overlap = p.width == 2 * p.dim ? p.candidatesPerEntry / 2 : 0;
  std::int64_t count = 0;
  for (std::int64_t j = 0; j < p.candidatesPerEntry; j++) {
    if (rows[j] < 0) continue;
    const std::int64_t at = rows[j] * p.width + (j < overlap ? 0 : p.width - p.dim);
    found[count++] = {p.openKv + at, p.openGate + at};
  }
  return count;
}

// Set::poolChannels(candidates, count, dim, out), Set::sumOfSquares(x, n), Set::squareRoot(x) and Set::rotatePairs do
// the work.
template <class Set>
static void compressWindows(const CompressParams& p, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; i++) {
    Candidate candidates[kMaxCandidates];
    const std::int64_t count = findCandidates(p, i, candidates);
    float* entry = p.entries + p.entryRow[i] * p.dim;
    Set::poolChannels(candidates, count, p.dim, entry);
    const float mean = Set::sumOfSquares(entry, p.dim) / static_cast<float>(p.dim);
    const float inverse = 1.0f / Set::squareRoot(mean + p.rmsNormEps);
    for (std::int64_t c = 0; c < p.dim; c++) entry[c] = (entry[c] * inverse) * p.norm[c];
    const std::int64_t pairs = p.ropeDim / 2;
    Set::rotatePairs({entry + p.dim - p.ropeDim, 1, p.dim, p.cos + i * pairs, p.sin + i * pairs, 1.0f, pairs});
  }
}

}  // namespace megamoe::attention
