// Attention of one query row and some of its heads over its key list, in blocks of kKeyBlock keys from the first:
// scores with a lane for each head, a running softmax in those lanes, then the weighted sum of the keys with a lane for
// each channel. The two halves of the list are summed apart and put together at the end, always, so that two threads
// can take one each. A head's numbers depend on its query and the key list alone.

// Keys of the first half: whole blocks.
inline int64_t firstHalf(int64_t count) { return least(count, roundUp((count + 1) / 2, kKeyBlock)); }

// What a half of the keys gives.
struct Half {
  float* sums;         // [chunks, padded, kChunk]; never written when there are no keys
  float *top, *total;  // [padded]
};

// Buffers for `padded` heads (rounded up to kLanes).
struct AttendBuffers {
  float* keys;     // [2, chunks, kKeyBlock, kChunk]: a block in use and the next
  float* queries;  // [d, padded]
  float* scores;   // [kKeyBlock, padded]; then weights
  float* shrink;   // [padded]
  float* halves;   // [2] of halfSize
};

inline int64_t halfSize(int64_t d, int64_t padded) { return chunksOf(d) * padded * kChunk + 2 * padded; }

inline int64_t attendHalf(const AttendParams& p) { return halfSize(p.d, roundUp(p.headBlock, kLanes)); }

inline int64_t attendScratch(const AttendParams& p) {
  const int64_t padded = roundUp(p.headBlock, kLanes);
  return 2 * chunksOf(p.d) * kKeyBlock * kChunk + (p.d + kKeyBlock + 1) * padded + 2 * attendHalf(p);
}

inline AttendBuffers attendBuffers(const AttendParams& p, float* scratch, int64_t padded) {
  AttendBuffers b;
  b.keys = scratch;
  b.queries = b.keys + 2 * chunksOf(p.d) * kKeyBlock * kChunk;
  b.scores = b.queries + p.d * padded;
  b.shrink = b.scores + kKeyBlock * padded;
  b.halves = b.shrink + padded;
  return b;
}

inline Half halfAt(float* from, int64_t d, int64_t padded) {
  const int64_t sums = chunksOf(d) * padded * kChunk;
  return Half{from, from + sums, from + sums + padded};
}

// Scores of `block` keys become weights; maximum and sum go on, and `shrink` is what earlier sums are to be multiplied
// by.
inline void foldScores(const AttendBuffers& b, const Half& half, int64_t block, int64_t padded, float softmaxScale) {
  const Vec scale = all(softmaxScale);
  for (int64_t h = 0; h < padded; h += kLanes) {
    float* const s = b.scores + h;
    const Vec before = load(half.top + h);
    Vec top = before;
    for (int64_t j = 0; j < block; j++) {
      const Vec scaled = mul(load(s + j * padded), scale);
      store(s + j * padded, scaled);
      top = maxOr(top, scaled);
    }
    store(half.top + h, top);
    // Nothing but -Infinity so far: weights of zero, not NaN.
    const Vec from = replaceEqual(top, all(-kInfinity), zero());
    const Vec shrink = expNonPositive(sub(before, from));
    Vec total = mul(load(half.total + h), shrink);
    for (int64_t j = 0; j < block; j++) {
      const Vec weight = expNonPositive(sub(load(s + j * padded), from));
      store(s + j * padded, weight);
      total = add(total, weight);
    }
    store(half.total + h, total);
    store(b.shrink + h, shrink);
  }
}

// The keys [first, end) of a query: `first` is 0 or firstHalf, `end` firstHalf or the number of keys.
inline void attendKeys(const AttendParams& p, int64_t r, int64_t h0, int64_t heads, int64_t first, int64_t end,
                       const AttendBuffers& b, const Half* halves) {
  const int64_t padded = roundUp(heads, kLanes), vectors = padded / kLanes;
  const int64_t middle = firstHalf(keyCount(p, r));
  KeyFeed feed(p, r, first, end, b.keys);
  packQueries(p.q + (r * p.heads + h0) * p.d, heads, p.d, b.queries, padded);
  for (int64_t k0 = first; k0 < end; k0 += kKeyBlock) {
    const int64_t block = least(kKeyBlock, end - k0);
    feed.finish(k0 + block);
    int64_t tiles = 0;
    for (int64_t i = 0; i < p.d; i += kChunk)
      tiles += tilesOf(block, vectors) + tilesOf(heads, vectorsOf(least(kChunk, p.d - i)));
    feed.pace(k0 + 2 * kKeyBlock, tiles);
    const float* const keys = feed.block(k0);
    for (int64_t i = 0, chunk = 0; i < p.d; i += kChunk, chunk++) {
      const Product product{keys + chunk * kKeyBlock * kChunk,
                            kChunk,
                            b.queries + i * padded,
                            padded,
                            least(kChunk, p.d - i),
                            b.scores,
                            padded,
                            nullptr};
      if (i == 0) {
        multiply<Left::kRows, Into::kStore>(product, block, vectors, feed);
      } else {
        multiply<Left::kRows, Into::kAdd>(product, block, vectors, feed);
      }
    }
    const Half& half = halves[k0 < middle ? 0 : 1];
    foldScores(b, half, block, padded, p.softmaxScale);
    for (int64_t i = 0, chunk = 0; i < p.d; i += kChunk, chunk++) {
      const Product product{b.scores, padded,  keys + chunk * kKeyBlock * kChunk,
                            kChunk,   block,   half.sums + chunk * padded * kChunk,
                            kChunk,   b.shrink};
      if (k0 == 0 || k0 == middle) {
        multiply<Left::kColumns, Into::kStore>(product, heads, vectorsOf(least(kChunk, p.d - i)), feed);
      } else {
        multiply<Left::kColumns, Into::kScale>(product, heads, vectorsOf(least(kChunk, p.d - i)), feed);
      }
    }
  }
}

// Heads [begin, end) of the block of heads from h0 on, put together: the sink has its share of the denominator.
inline void writeHeads(const AttendParams& p, int64_t r, int64_t h0, int64_t heads, int64_t begin, int64_t end,
                       const Half* halves) {
  const int64_t padded = roundUp(heads, kLanes);
  const int64_t count = keyCount(p, r);
  const bool both = firstHalf(count) < count;
  alignas(64) float weights[2][kLanes];
  for (int64_t h = begin; h < end; h++) {
    const int64_t lane = h % kLanes;
    if (h == begin || lane == 0) {
      const int64_t g = h - lane;
      const Vec sink = heads - g >= kLanes ? load(p.sinks + h0 + g) : loadPart(p.sinks + h0 + g, heads - g);
      const Vec max0 = load(halves[0].top + g), max1 = load(halves[1].top + g);
      const Vec top = maxOr(sink, maxOr(max0, max1));
      const Vec keep0 = expNonPositive(sub(max0, top)), keep1 = expNonPositive(sub(max1, top));
      const Vec rest = fma(load(halves[1].total + g), keep1, expNonPositive(sub(sink, top)));
      const Vec total = fma(load(halves[0].total + g), keep0, rest);
      store(weights[0], div(keep0, total));
      store(weights[1], div(keep1, total));
    }
    // No keys, nothing but weights of zero, or a sink that takes everything.
    const bool empty = (halves[0].total[h] == 0.0f && halves[1].total[h] == 0.0f) || p.sinks[h0 + h] == kInfinity;
    const Vec weight0 = all(weights[0][lane]), weight1 = all(weights[1][lane]);
    float* const out = p.out + (r * p.heads + h0 + h) * p.d;
    for (int64_t i = 0; i < p.d; i += kLanes) {
      const int64_t at = (i / kChunk * padded + h) * kChunk + i % kChunk;
      Vec value = zero();
      if (!empty) {
        value = mul(load(halves[0].sums + at), weight0);
        if (both) value = fma(load(halves[1].sums + at), weight1, value);
      }
      if (i + kLanes <= p.d) {
        store(out + i, value);
      } else {
        storePart(out + i, value, p.d - i);
      }
    }
  }
}

inline void clear(const Half& half, int64_t padded) {
  for (int64_t h = 0; h < padded; h++) {
    half.top[h] = -kInfinity;
    half.total[h] = 0.0f;
  }
}

// Half `i` of item (row, block of heads) among what p.halves holds.
inline Half keptHalf(const AttendParams& p, int64_t item, int64_t i, int64_t padded) {
  return halfAt(p.halves + (2 * item + i) * attendHalf(p), p.d, padded);
}

inline void attend(const AttendParams& p, int64_t begin, int64_t end, float* scratch) {
  const int64_t blocks = (p.heads + p.headBlock - 1) / p.headBlock;
  const int64_t parts = p.halves == nullptr ? 1 : 2;
  for (int64_t at = begin; at < end; at++) {
    const int64_t item = at / parts, r = item / blocks, h0 = item % blocks * p.headBlock;
    const int64_t heads = least(p.headBlock, p.heads - h0), padded = roundUp(heads, kLanes);
    const int64_t count = keyCount(p, r), middle = firstHalf(count);
    const AttendBuffers b = attendBuffers(p, scratch, padded);
    if (parts == 1) {
      const Half halves[2] = {halfAt(b.halves, p.d, padded), halfAt(b.halves + attendHalf(p), p.d, padded)};
      clear(halves[0], padded);
      clear(halves[1], padded);
      attendKeys(p, r, h0, heads, 0, count, b, halves);
      writeHeads(p, r, h0, heads, 0, heads, halves);
    } else {
      const Half halves[2] = {keptHalf(p, item, 0, padded), keptHalf(p, item, 1, padded)};
      const bool second = at % 2 == 1;
      clear(halves[second ? 1 : 0], padded);
      attendKeys(p, r, h0, heads, second ? middle : 0, second ? count : middle, b, halves);
    }
  }
}

inline void attendJoin(const AttendParams& p, int64_t begin, int64_t end) {
  const int64_t blocks = (p.heads + p.headBlock - 1) / p.headBlock;
  while (begin < end) {
    const int64_t r = begin / p.heads, block = begin % p.heads / p.headBlock, h0 = block * p.headBlock;
    const int64_t heads = least(p.headBlock, p.heads - h0), padded = roundUp(heads, kLanes);
    const int64_t first = begin % p.heads - h0, last = least(heads, first + end - begin);
    const Half halves[2] = {keptHalf(p, r * blocks + block, 0, padded), keptHalf(p, r * blocks + block, 1, padded)};
    writeHeads(p, r, h0, heads, first, last, halves);
    begin += last - first;
  }
}
