// Copies in the order in which the products read: channels in chunks of kChunk, so that what a chunk needs stays in the
// fast caches, and sums are over at most kChunk products before they are added up.
#pragma once

#include "tile.h"

namespace megamoe::attention::simd {

constexpr std::int64_t kChunk = 128;
constexpr std::int64_t kLine = 16;  // floats of a cache line

static inline std::int64_t chunksOf(std::int64_t d) { return (d + kChunk - 1) / kChunk; }

// Queries [heads, d] as [d, padded]: a lane for each head, 0 in lanes past the last. padded = heads rounded up to
// kLanes.
template <class V>
static inline void packQueries(const float* q, std::int64_t heads, std::int64_t d, float* packed, std::int64_t padded) {
  // A cache line of every query at a time: rows lie so far apart that few stay cached.
  const std::int64_t wholeHeads = heads / 8 * 8, wholeD = d / kLine * kLine;
  for (std::int64_t i = 0; i < wholeD; i += kLine) {
    for (std::int64_t h = 0; h < wholeHeads; h += 8) {
      V::transpose8(q + h * d + i, d, packed + i * padded + h, padded);
      V::transpose8(q + h * d + i + 8, d, packed + (i + 8) * padded + h, padded);
    }
    for (std::int64_t h = wholeHeads; h < heads; h++) {
      for (std::int64_t k = i; k < i + kLine; k++) packed[k * padded + h] = q[h * d + k];
    }
  }
  for (std::int64_t i = wholeD; i < d; i++) {
    for (std::int64_t h = 0; h < heads; h++) packed[i * padded + h] = q[h * d + i];
  }
  if (heads == padded) return;
  for (std::int64_t i = 0; i < d; i++) {
    for (std::int64_t h = heads; h < padded; h++) packed[i * padded + h] = 0.0f;
  }
}

// Channels of one chunk of a key row, n <= kChunk of them. 0 up to a whole vector.
template <class V>
static inline void packPiece(const float* key, std::int64_t n, float* packed) {
  if (n == kChunk) {
    MEGAMOE_UNROLL
    for (std::int64_t i = 0; i < kChunk; i += V::kLanes) V::store(packed + i, V::load(key + i));
    return;
  }
  std::int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store(packed + i, V::load(key + i));
  if (i < n) V::store(packed + i, V::loadFirst(key + i, static_cast<int>(n - i)));
}

}  // namespace megamoe::attention::simd
