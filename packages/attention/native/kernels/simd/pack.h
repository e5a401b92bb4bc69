// Copies in the order in which the products read: channels in chunks of kChunk, so that what a chunk needs stays in the
// fast caches, and sums are over at most kChunk products before they are added up.

constexpr int64_t kChunk = 128;
constexpr int64_t kLine = 16;  // floats of a cache line

inline int64_t chunksOf(int64_t d) { return (d + kChunk - 1) / kChunk; }

// Queries [heads, d] as [d, padded]: a lane for each head, 0 in lanes past the last. padded = heads rounded up to
// kLanes.
inline void packQueries(const float* q, int64_t heads, int64_t d, float* packed, int64_t padded) {
  // A cache line of every query at a time: rows lie so far apart that few stay cached.
  const int64_t wholeHeads = heads / 8 * 8, wholeD = d / kLine * kLine;
  for (int64_t i = 0; i < wholeD; i += kLine) {
    for (int64_t h = 0; h < wholeHeads; h += 8) {
      transpose8(q + h * d + i, d, packed + i * padded + h, padded);
      transpose8(q + h * d + i + 8, d, packed + (i + 8) * padded + h, padded);
    }
    for (int64_t h = wholeHeads; h < heads; h++) {
      for (int64_t k = i; k < i + kLine; k++) packed[k * padded + h] = q[h * d + k];
    }
  }
  for (int64_t i = wholeD; i < d; i++) {
    for (int64_t h = 0; h < heads; h++) packed[i * padded + h] = q[h * d + i];
  }
  if (heads == padded) return;
  for (int64_t i = 0; i < d; i++) {
    for (int64_t h = heads; h < padded; h++) packed[i * padded + h] = 0.0f;
  }
}

// Channels of one chunk of a key row, n <= kChunk of them. 0 up to a whole vector.
inline void packPiece(const float* key, int64_t n, float* packed) {
  if (n == kChunk) {
    MEGAMOE_UNROLL
    for (int64_t i = 0; i < kChunk; i += kLanes) store(packed + i, load(key + i));
    return;
  }
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(packed + i, load(key + i));
  if (i < n) store(packed + i, loadPart(key + i, n - i));
}
