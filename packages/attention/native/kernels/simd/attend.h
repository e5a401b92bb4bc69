// Attention of one query row and some of its heads over its key list, in blocks of kKeyBlock keys from the first:
// scores with a lane for each head, a running softmax in those lanes, then the weighted sum of the keys with a lane for
// each channel. The two halves of the list are summed apart and put together at the end, always, so that two threads
// can take one each. A head's numbers depend on its query and the key list alone.
#pragma once

#include "../range_kernels.h"
#include "key_feed.h"

namespace megamoe::attention::simd {

// Keys of the first half: whole blocks.
static inline std::int64_t firstHalf(std::int64_t count) { return least(count, roundUp((count + 1) / 2, kKeyBlock)); }

// Heads [first, first + count) of query row `row`.
struct HeadBlock {
  std::int64_t row, first, count;
  std::int64_t padded;  // count rounded up to kLanes
};

template <class V>
static inline HeadBlock headBlock(const AttendJob& job, std::int64_t row, std::int64_t block) {
  const std::int64_t first = block * job.headBlock, count = least(job.headBlock, job.heads - first);
  return {row, first, count, roundUp(count, V::kLanes)};
}

// What a half of the keys gives.
struct Half {
  float* sums;         // [chunks, padded, kChunk]; never written when there are no keys
  float *top, *total;  // [padded]
};

// Buffers for `padded` heads.
struct AttendBuffers {
  float* keys;     // [2, chunks, kKeyBlock, kChunk]: a block in use and the next
  float* queries;  // [d, padded]
  float* scores;   // [kKeyBlock, padded]; then weights
  float* shrink;   // [padded]
  float* halves;   // [2] of AttendSizes::half
};

template <class V>
static AttendSizes attendSizes(const AttendJob& job) {
  const std::int64_t padded = roundUp(job.headBlock, V::kLanes);
  AttendSizes sizes;
  sizes.half = chunksOf(job.d) * padded * kChunk + 2 * padded;
  sizes.scratch = 2 * chunksOf(job.d) * kKeyBlock * kChunk + (job.d + kKeyBlock + 1) * padded + 2 * sizes.half;
  return sizes;
}

static inline AttendBuffers attendBuffers(const AttendJob& job, float* scratch, std::int64_t padded) {
  AttendBuffers b;
  b.keys = scratch;
  b.queries = b.keys + 2 * chunksOf(job.d) * kKeyBlock * kChunk;
  b.scores = b.queries + job.d * padded;
  b.shrink = b.scores + kKeyBlock * padded;
  b.halves = b.shrink + padded;
  return b;
}

static inline Half halfAt(float* from, std::int64_t d, std::int64_t padded) {
  const std::int64_t sums = chunksOf(d) * padded * kChunk;
  return Half{from, from + sums, from + sums + padded};
}

// Scores of `block` keys become weights; maximum and sum go on, and `shrink` is what earlier sums are to be multiplied
// by.
template <class V>
static inline void foldScores(const AttendBuffers& b, const Half& half, std::int64_t block, std::int64_t padded,
                              float softmaxScale) {
  using Reg = typename V::Reg;
  const Reg scale = V::splat(softmaxScale);
  for (std::int64_t h = 0; h < padded; h += V::kLanes) {
    float* const s = b.scores + h;
    const Reg before = V::load(half.top + h);
    Reg top = before;
    for (std::int64_t j = 0; j < block; j++) {
      const Reg scaled = V::mul(V::load(s + j * padded), scale);
      V::store(s + j * padded, scaled);
      top = V::max(top, scaled);
    }
    V::store(half.top + h, top);
    // Nothing but -Infinity so far: weights of zero, not NaN.
    const Reg from = V::replaceEqual(top, V::splat(-kInfinity), V::zero());
    const Reg shrink = expNonPositive<V>(V::sub(before, from));
    Reg total = V::mul(V::load(half.total + h), shrink);
    for (std::int64_t j = 0; j < block; j++) {
      const Reg weight = expNonPositive<V>(V::sub(V::load(s + j * padded), from));
      V::store(s + j * padded, weight);
      total = V::add(total, weight);
    }
    V::store(half.total + h, total);
    V::store(b.shrink + h, shrink);
  }
}

// The keys [begin, end) of a query: `begin` is 0 or firstHalf, `end` firstHalf or the number of keys.
template <class V>
static inline void attendKeys(const AttendJob& job, const HeadBlock& heads, std::int64_t begin, std::int64_t end,
                              const AttendBuffers& b, const Half* halves) {
  const std::int64_t padded = heads.padded, vectors = padded / V::kLanes;
  const std::int64_t middle = firstHalf(keyCount(job, heads.row));
  KeyFeed<V> feed(job, heads.row, begin, end, b.keys);
  packQueries<V>(job.q + (heads.row * job.heads + heads.first) * job.d, heads.count, job.d, b.queries, padded);
  for (std::int64_t k0 = begin; k0 < end; k0 += kKeyBlock) {
    const std::int64_t block = least(kKeyBlock, end - k0);
    feed.finish(k0 + block);
    std::int64_t tiles = 0;
    for (std::int64_t i = 0; i < job.d; i += kChunk)
      tiles += tilesOf<V>(block, vectors) + tilesOf<V>(heads.count, vectorsOf<V>(least(kChunk, job.d - i)));
    feed.pace(k0 + 2 * kKeyBlock, tiles);
    const float* const keys = feed.block(k0);
    for (std::int64_t i = 0, chunk = 0; i < job.d; i += kChunk, chunk++) {
      Product product = {};
      product.a = keys + chunk * kKeyBlock * kChunk;
      product.aStep = kChunk;
      product.b = b.queries + i * padded;
      product.bStep = padded;
      product.depth = least(kChunk, job.d - i);
      product.c = b.scores;
      product.cRow = padded;
      if (i == 0) {
        multiply<V, Left::kRows, Into::kStore>(product, block, vectors, feed);
      } else {
        multiply<V, Left::kRows, Into::kAdd>(product, block, vectors, feed);
      }
    }
    const Half& half = halves[k0 < middle ? 0 : 1];
    foldScores<V>(b, half, block, padded, job.softmaxScale);
    for (std::int64_t i = 0, chunk = 0; i < job.d; i += kChunk, chunk++) {
      Product product = {};
      product.a = b.scores;
      product.aStep = padded;
      product.b = keys + chunk * kKeyBlock * kChunk;
      product.bStep = kChunk;
      product.depth = block;
      product.c = half.sums + chunk * padded * kChunk;
      product.cRow = kChunk;
      product.rowScale = b.shrink;
      if (k0 == 0 || k0 == middle) {
        multiply<V, Left::kColumns, Into::kStore>(product, heads.count, vectorsOf<V>(least(kChunk, job.d - i)), feed);
      } else {
        multiply<V, Left::kColumns, Into::kScale>(product, heads.count, vectorsOf<V>(least(kChunk, job.d - i)), feed);
      }
    }
  }
}

// Heads [begin, end) of a block, put together: the sink has its share of the denominator.
template <class V>
static inline void writeHeads(const AttendJob& job, const HeadBlock& heads, std::int64_t begin, std::int64_t end,
                              const Half* halves) {
  using Reg = typename V::Reg;
  const std::int64_t count = keyCount(job, heads.row);
  const bool both = firstHalf(count) < count;
  const float* const sinks = job.sinks + heads.first;
  alignas(64) float weights[2][V::kLanes];
  for (std::int64_t h = begin; h < end; h++) {
    const std::int64_t lane = h % V::kLanes;
    if (h == begin || lane == 0) {
      const std::int64_t g = h - lane;
      const Reg sink = loadUpTo<V>(sinks + g, heads.count - g);
      const Reg max0 = V::load(halves[0].top + g), max1 = V::load(halves[1].top + g);
      const Reg top = V::max(sink, V::max(max0, max1));
      const Reg keep0 = expNonPositive<V>(V::sub(max0, top)), keep1 = expNonPositive<V>(V::sub(max1, top));
      const Reg rest = V::fma(V::load(halves[1].total + g), keep1, expNonPositive<V>(V::sub(sink, top)));
      const Reg total = V::fma(V::load(halves[0].total + g), keep0, rest);
      V::store(weights[0], V::div(keep0, total));
      V::store(weights[1], V::div(keep1, total));
    }
    // No keys, nothing but weights of zero, or a sink that takes everything.
    const bool empty = (halves[0].total[h] == 0.0f && halves[1].total[h] == 0.0f) || sinks[h] == kInfinity;
    const Reg weight0 = V::splat(weights[0][lane]), weight1 = V::splat(weights[1][lane]);
    float* const out = job.out + (heads.row * job.heads + heads.first + h) * job.d;
    for (std::int64_t i = 0; i < job.d; i += V::kLanes) {
      const std::int64_t at = (i / kChunk * heads.padded + h) * kChunk + i % kChunk;
      Reg value = V::zero();
      if (!empty) {
        value = V::mul(V::load(halves[0].sums + at), weight0);
        if (both) value = V::fma(V::load(halves[1].sums + at), weight1, value);
      }
      storeUpTo<V>(out + i, job.d - i, value);
    }
  }
}

static inline void clear(const Half& half, std::int64_t padded) {
  for (std::int64_t h = 0; h < padded; h++) {
    half.top[h] = -kInfinity;
    half.total[h] = 0.0f;
  }
}

// Half `i` of item (row, block of heads) among what job.halves holds.
template <class V>
static inline Half keptHalf(const AttendJob& job, std::int64_t item, std::int64_t i, std::int64_t padded) {
  return halfAt(job.halves + (2 * item + i) * attendSizes<V>(job).half, job.d, padded);
}

template <class V>
static void attend(const AttendJob& job, std::int64_t begin, std::int64_t end, float* scratch) {
  const std::int64_t blocks = (job.heads + job.headBlock - 1) / job.headBlock;
  const std::int64_t parts = job.halves == nullptr ? 1 : 2;
  for (std::int64_t at = begin; at < end; at++) {
    const std::int64_t item = at / parts;
    const HeadBlock heads = headBlock<V>(job, item / blocks, item % blocks);
    const std::int64_t count = keyCount(job, heads.row), middle = firstHalf(count), padded = heads.padded;
    const AttendBuffers b = attendBuffers(job, scratch, padded);
    if (parts == 1) {
      const Half halves[2] = {halfAt(b.halves, job.d, padded),
                              halfAt(b.halves + attendSizes<V>(job).half, job.d, padded)};
      clear(halves[0], padded);
      clear(halves[1], padded);
      attendKeys<V>(job, heads, 0, count, b, halves);
      writeHeads<V>(job, heads, 0, heads.count, halves);
    } else {
      const Half halves[2] = {keptHalf<V>(job, item, 0, padded), keptHalf<V>(job, item, 1, padded)};
      const bool second = at % 2 == 1;
      clear(halves[second ? 1 : 0], padded);
      attendKeys<V>(job, heads, second ? middle : 0, second ? count : middle, b, halves);
    }
  }
}

template <class V>
static void attendJoin(const AttendJob& job, std::int64_t begin, std::int64_t end) {
  const std::int64_t blocks = (job.heads + job.headBlock - 1) / job.headBlock;
  while (begin < end) {
    const std::int64_t row = begin / job.heads, block = begin % job.heads / job.headBlock;
    const HeadBlock heads = headBlock<V>(job, row, block);
    const std::int64_t first = begin % job.heads - heads.first, last = least(heads.count, first + end - begin);
    const Half halves[2] = {keptHalf<V>(job, row * blocks + block, 0, heads.padded),
                            keptHalf<V>(job, row * blocks + block, 1, heads.padded)};
    writeHeads<V>(job, heads, first, last, halves);
    begin += last - first;
  }
}

}  // namespace megamoe::attention::simd
