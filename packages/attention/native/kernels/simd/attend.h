// Attention of one query row and some of its heads over its key list, in blocks of kKeyBlock keys from the first: scores with a lane
// for each head, a running softmax in those lanes, then the weighted sum of the keys with a lane for each channel. A head's numbers
// depend on its query and the key list alone.

// Buffers for `padded` heads (rounded up to kLanes).
struct AttendBuffers {
  float* queries;  // [d, padded]
  float* keys;     // [chunks, kKeyBlock, kChunk]
  float* sums;     // [chunks, padded, kChunk]
  float* scores;   // [kKeyBlock, padded]; then weights
  float *top, *total, *shrink;  // [padded]
};

inline int64_t attendScratch(const AttendParams& p) {
  const int64_t padded = roundUp(p.headBlock, kLanes), chunks = chunksOf(p.d);
  return p.d * padded + chunks * kKeyBlock * kChunk + chunks * padded * kChunk + kKeyBlock * padded + 3 * padded;
}

inline AttendBuffers attendBuffers(const AttendParams& p, float* scratch, int64_t padded) {
  const int64_t chunks = chunksOf(p.d);
  AttendBuffers b;
  b.keys = scratch;
  b.sums = b.keys + chunks * kKeyBlock * kChunk;
  b.queries = b.sums + chunks * padded * kChunk;
  b.scores = b.queries + p.d * padded;
  b.top = b.scores + kKeyBlock * padded;
  b.total = b.top + padded;
  b.shrink = b.total + padded;
  return b;
}

// Scores of `block` keys become weights; maximum and sum go on, and `shrink` is what earlier sums are to be multiplied by.
inline void foldScores(const AttendBuffers& b, int64_t block, int64_t padded, float softmaxScale) {
  const Vec scale = all(softmaxScale);
  for (int64_t h = 0; h < padded; h += kLanes) {
    float* const s = b.scores + h;
    const Vec before = load(b.top + h);
    Vec top = before;
    for (int64_t j = 0; j < block; j++) {
      const Vec scaled = mul(load(s + j * padded), scale);
      store(s + j * padded, scaled);
      top = maxOr(top, scaled);
    }
    store(b.top + h, top);
    // Nothing but -Infinity so far: weights of zero, not NaN.
    const Vec from = replaceEqual(top, all(-kInfinity), zero());
    const Vec shrink = expNonPositive(sub(before, from));
    Vec total = mul(load(b.total + h), shrink);
    for (int64_t j = 0; j < block; j++) {
      const Vec weight = expNonPositive(sub(load(s + j * padded), from));
      store(s + j * padded, weight);
      total = add(total, weight);
    }
    store(b.total + h, total);
    store(b.shrink + h, shrink);
  }
}

// What each head's sum is multiplied by in the end: the sink has its share of the denominator. `shrink` is free by now.
inline void finishWeights(const AttendBuffers& b, const float* sinks, int64_t heads) {
  for (int64_t h = 0; h < heads; h += kLanes) {
    const int64_t n = heads - h;
    const Vec sink = n >= kLanes ? load(sinks + h) : loadPart(sinks + h, n);
    const Vec max = load(b.top + h);
    const Vec top = maxOr(sink, max);
    const Vec keep = expNonPositive(sub(max, top));
    const Vec total = fma(load(b.total + h), keep, expNonPositive(sub(sink, top)));
    store(b.shrink + h, div(keep, total));
  }
}

inline void writeHead(const float* sums, int64_t nextChunk, float weight, bool empty, int64_t d, float* out) {
  for (int64_t i = 0; i < d; i += kLanes) {
    const float* from = sums + i / kChunk * nextChunk + i % kChunk;
    const Vec value = empty ? zero() : mul(load(from), all(weight));
    if (i + kLanes <= d) {
      store(out + i, value);
    } else {
      storePart(out + i, value, d - i);
    }
  }
}

inline const float* keyRow(const AttendParams& p, int64_t r, int64_t j) {
  const int64_t index = p.keyIndex[r * p.keyCap + j];
  return index < p.ringCap ? p.ring + index * p.d : p.entries + (index - p.ringCap) * p.d;
}

inline void attendHeads(const AttendParams& p, int64_t r, int64_t h0, int64_t heads, float* scratch) {
  const int64_t padded = roundUp(heads, kLanes);
  const AttendBuffers b = attendBuffers(p, scratch, padded);
  const int64_t at = ((p.row0 + r) * p.heads + h0) * p.d;
  const int64_t count = p.keyCount[r];
  packQueries(p.q + at, heads, p.d, b.queries, padded);
  for (int64_t h = 0; h < padded; h++) {
    b.top[h] = -kInfinity;
    b.total[h] = 0.0f;
  }
  Ahead ahead;
  ahead.lineCount = (p.d + 15) / 16;
  for (int64_t k0 = 0; k0 < count; k0 += kKeyBlock) {
    const int64_t block = least(kKeyBlock, count - k0);
    for (int64_t j = 0; j < block; j++) packKey(keyRow(p, r, k0 + j), p.d, b.keys + j * kChunk);
    ahead.count = least(kKeyBlock, count - k0 - block);
    ahead.row = ahead.line = 0;
    for (int64_t j = 0; j < ahead.count; j++) ahead.rows[j] = keyRow(p, r, k0 + block + j);
    for (int64_t i = 0, chunk = 0; i < p.d; i += kChunk, chunk++) {
      const Product product{b.keys + chunk * kKeyBlock * kChunk, kChunk, b.queries + i * padded, padded,
                            least(kChunk, p.d - i),              b.scores, padded, nullptr};
      if (i == 0) {
        multiply<Left::kRows, Into::kStore>(product, block, padded / kLanes, ahead);
      } else {
        multiply<Left::kRows, Into::kAdd>(product, block, padded / kLanes, ahead);
      }
    }
    foldScores(b, block, padded, p.softmaxScale);
    for (int64_t i = 0, chunk = 0; i < p.d; i += kChunk, chunk++) {
      const Product product{b.scores, padded,  b.keys + chunk * kKeyBlock * kChunk, kChunk, block, b.sums + chunk * padded * kChunk,
                            kChunk,   b.shrink};
      const int64_t vectors = (least(kChunk, p.d - i) + kLanes - 1) / kLanes;
      if (k0 == 0) {
        multiply<Left::kColumns, Into::kStore>(product, heads, vectors, ahead);
      } else {
        multiply<Left::kColumns, Into::kScale>(product, heads, vectors, ahead);
      }
    }
  }
  finishWeights(b, p.sinks + h0, heads);
  for (int64_t h = 0; h < heads; h++) {
    // No keys, nothing but weights of zero, or a sink that takes everything.
    const bool empty = b.total[h] == 0.0f || p.sinks[h0 + h] == kInfinity;
    writeHead(b.sums + h * kChunk, padded * kChunk, b.shrink[h], empty, p.d, p.out + at + h * p.d);
  }
}

inline void attend(const AttendParams& p, int64_t begin, int64_t end, float* scratch) {
  const int64_t blocks = (p.heads + p.headBlock - 1) / p.headBlock;
  for (int64_t item = begin; item < end; item++) {
    const int64_t h0 = item % blocks * p.headBlock;
    attendHeads(p, item / blocks, h0, least(p.headBlock, p.heads - h0), scratch);
  }
}
