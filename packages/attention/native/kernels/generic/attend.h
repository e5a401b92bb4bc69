// Attention, head by head.
#pragma once

#include <algorithm>
#include <limits>

#include "../common/keys.h"
#include "../range_kernels.h"
#include "lanes.h"

namespace megamoe::attention::generic {

// The running softmax of one head; the accumulator is the output row.
struct Head {
  const float* q;
  float *max, *sum, *out;
};

// Folds `block` keys into it.
static inline void foldBlock(const AttendParams& p, const float* const* keys, std::int64_t block, const Head& head) {
  float* const out = head.out;
  float weights[kKeyBlock];
  const float before = *head.max;
  float top = before;
  for (std::int64_t j = 0; j < block; j++) {
    const float s = dot(head.q, keys[j], p.d) * p.softmaxScale;
    weights[j] = s;
    if (!(s <= top)) top = s;  // a NaN is kept, and shows in the output
  }
  if (top == -std::numeric_limits<float>::infinity()) return;  // nothing but weights of zero so far
  if (top != before) {
    const float shrink = expNonPositive(before - top);
    *head.sum = *head.sum * shrink;
    for (std::int64_t i = 0; i < p.d; i++) out[i] = out[i] * shrink;
    *head.max = top;
  }
  for (std::int64_t j = block; j < kKeyBlock; j++) weights[j] = top;
  for (std::int64_t j = 0; j < kKeyBlock; j++) weights[j] = expNonPositive(weights[j] - top);
  float total = *head.sum;
  for (std::int64_t j = 0; j < block; j++) total = total + weights[j];
  *head.sum = total;
  std::int64_t j = 0;
  for (; j + 4 <= block; j += 4) addFour(out, keys[j], keys[j + 1], keys[j + 2], keys[j + 3], weights + j, p.d);
  for (; j < block; j++) addOne(out, keys[j], weights[j], p.d);
}

// Adds the sink to the denominator and divides.
static inline void finishHead(float max, float sum, float sink, float* out, std::int64_t d) {
  const float infinity = std::numeric_limits<float>::infinity();
  if (sum == 0.0f || sink == infinity) {  // no keys, or a sink that takes everything
    for (std::int64_t i = 0; i < d; i++) out[i] = 0.0f;
    return;
  }
  const float top = sink > max ? sink : max;
  const float keep = expNonPositive(max - top);
  const float total = sum * keep + expNonPositive(sink - top);
  const float weight = keep / total;
  for (std::int64_t i = 0; i < d; i++) out[i] = out[i] * weight;
}

static inline AttendSizes attendSizes(const AttendJob& job) {
  AttendSizes sizes;
  sizes.scratch = 2 * job.headBlock;
  return sizes;
}

static inline void attend(const AttendJob& p, std::int64_t begin, std::int64_t end, float* scratch) {
  const std::int64_t headBlocks = (p.heads + p.headBlock - 1) / p.headBlock;
  float* const max = scratch;
  float* const sum = scratch + p.headBlock;
  for (std::int64_t item = begin; item < end; item++) {
    const std::int64_t r = item / headBlocks;
    const std::int64_t h0 = (item % headBlocks) * p.headBlock;
    const std::int64_t heads = std::min(p.headBlock, p.heads - h0);
    const std::int64_t at = (r * p.heads + h0) * p.d;
    for (std::int64_t h = 0; h < heads; h++) {
      max[h] = -std::numeric_limits<float>::infinity();
      sum[h] = 0.0f;
    }
    for (std::int64_t i = 0; i < heads * p.d; i++) p.out[at + i] = 0.0f;
    const std::int64_t count = keyCount(p, r);
    for (std::int64_t k0 = 0; k0 < count; k0 += kKeyBlock) {
      const std::int64_t block = std::min(kKeyBlock, count - k0);
      const float* keys[kKeyBlock];
      for (std::int64_t j = 0; j < block; j++) keys[j] = keyRow(p, r, k0 + j);
      // A block of keys stays in cache while every head passes over it.
      for (std::int64_t h = 0; h < heads; h++) {
        foldBlock(p, keys, block, {p.q + at + h * p.d, &max[h], &sum[h], p.out + at + h * p.d});
      }
    }
    for (std::int64_t h = 0; h < heads; h++) finishHead(max[h], sum[h], p.sinks[h0 + h], p.out + at + h * p.d, p.d);
  }
}

}  // namespace megamoe::attention::generic
