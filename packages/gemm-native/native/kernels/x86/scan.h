// Scans of logits for any vector width.
//
// The k-th largest needs one pass over memory: it keeps the maxima of groups that lie across vector lanes. The k-th largest of those is a
// bound that at least k values reach, so the answer is among the few values at or above it, found again in the groups that have
// any. Selection is by bisection over float32 bit patterns, each step a count that vectors do.
#pragma once

#include <cstdint>
#include <cstring>

#include "../scan.h"
#include "ranges.h"

namespace megamoe::gemm::x86 {

constexpr std::int64_t kGroup = 32;  // values that share a maximum

// A float32 as an integer that sorts as the numbers do (-0 next below +0), and back. NaN must not come here.
static inline std::int64_t keyOf(float v) {
  std::int32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits < 0 ? bits ^ 0x7fffffff : bits;
}
static inline float valueOf(std::int64_t key) {
  const std::int32_t k = static_cast<std::int32_t>(key), bits = k < 0 ? k ^ 0x7fffffff : k;
  float v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

template <class V>
static std::int64_t countAtLeast(const float* x, std::int64_t n, float floor) {
  const typename V::Reg f = V::splat(floor);
  std::int64_t count = 0, i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) count += __builtin_popcount(V::atLeast(V::load(x + i), f));
  for (; i < n; i++) count += x[i] >= floor ? 1 : 0;
  return count;
}

// The largest value that at least k of x reach, 1 <= k <= n: the k-th largest. `most` is the largest of x.
template <class V>
static float select(const float* x, std::int64_t n, std::int64_t k, float most) {
  std::int64_t low = keyOf(-__builtin_inff()), high = keyOf(most);
  while (low < high) {
    const std::int64_t middle = low + (high - low + 1) / 2;
    if (countAtLeast<V>(x, n, valueOf(middle)) >= k)
      low = middle;
    else
      high = middle - 1;
  }
  return valueOf(low);
}

template <class V>
static float largestLane(typename V::Reg v) {
  float lanes[V::kLanes];
  V::store(lanes, v);
  float most = lanes[0];
  for (int l = 1; l < V::kLanes; l++) most = lanes[l] > most ? lanes[l] : most;
  return most;
}

// Maxima of whole groups: maxima[b*kLanes + l] of the kGroup vectors of block b. False when a NaN or +infinity is among them.
template <class V>
static bool groupMaxima(const float* x, std::int64_t blocks, float* maxima) {
  std::uint32_t bad = 0;
  for (std::int64_t b = 0; b < blocks; b++, x += kGroup * V::kLanes) {
    typename V::Reg most[4];
    for (int i = 0; i < 4; i++) {
      most[i] = V::load(x + i * V::kLanes);
      bad |= V::notBelowInfinity(most[i]);
    }
    for (std::int64_t g = 4; g < kGroup; g += 4)
      for (int i = 0; i < 4; i++) {
        const typename V::Reg v = V::load(x + (g + i) * V::kLanes);
        bad |= V::notBelowInfinity(v);
        most[i] = V::max(most[i], v);
      }
    V::store(maxima + b * V::kLanes, V::max(V::max(most[0], most[1]), V::max(most[2], most[3])));
  }
  return bad == 0;
}

template <class V>
static std::int64_t argmax(const float* x, std::int64_t n) {
  const std::int64_t width = kGroup * V::kLanes, blocks = n / width;
  float* maxima = static_cast<float*>(scratchBytes(Slot::scan, static_cast<std::size_t>(blocks * V::kLanes) * sizeof(float)));
  bool isGood = groupMaxima<V>(x, blocks, maxima);
  for (std::int64_t i = blocks * width; i < n; i++) isGood = isGood && x[i] < __builtin_inff();
  if (!isGood)
    for (std::int64_t i = 0;; i++)
      if (!(x[i] < __builtin_inff())) return -1 - i;
  std::int64_t bestBlock = 0;
  float best = -__builtin_inff();
  for (std::int64_t b = 0; b < blocks; b++) {
    const float most = largestLane<V>(V::load(maxima + b * V::kLanes));
    if (most > best) best = most, bestBlock = b;
  }
  for (std::int64_t i = blocks * width; i < n; i++)
    if (x[i] > best) best = x[i], bestBlock = blocks;
  for (std::int64_t i = bestBlock * width; i < n; i++)
    if (x[i] == best) return i;
  return 0;
}

// The values of x at or above floor, in out.
template <class V>
static std::int64_t gather(const float* x, std::int64_t n, float floor, float* out) {
  const typename V::Reg f = V::splat(floor);
  std::int64_t count = 0, i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes)
    for (std::uint32_t mask = V::atLeast(V::load(x + i), f); mask != 0; mask &= mask - 1) out[count++] = x[i + __builtin_ctz(mask)];
  for (; i < n; i++)
    if (x[i] >= floor) out[count++] = x[i];
  return count;
}

template <class V>
static float kthLargest(const float* x, std::int64_t n, std::int64_t k) {
  const std::int64_t width = kGroup * V::kLanes, blocks = n / width, groups = blocks * V::kLanes;
  float* maxima = static_cast<float*>(scratchBytes(Slot::scan, static_cast<std::size_t>(groups + n) * sizeof(float)));
  bool isGood = groupMaxima<V>(x, blocks, maxima);
  float most = -__builtin_inff();
  for (std::int64_t i = blocks * width; i < n; i++) {
    isGood = isGood && x[i] < __builtin_inff();
    most = x[i] > most ? x[i] : most;
  }
  if (!isGood) return __builtin_nanf("");
  float mostOfGroups = -__builtin_inff();
  for (std::int64_t b = 0; b < blocks; b++) {
    const float m = largestLane<V>(V::load(maxima + b * V::kLanes));
    mostOfGroups = m > mostOfGroups ? m : mostOfGroups;
  }
  most = mostOfGroups > most ? mostOfGroups : most;
  if (k > groups / 2) return select<V>(x, n, k, most);  // the bound would hold back too little
  const float bound = select<V>(maxima, groups, k, mostOfGroups);
  const typename V::Reg floor = V::splat(bound);
  float* const found = maxima + groups;
  std::int64_t count = 0;
  for (std::int64_t b = 0; b < blocks; b++)
    if (V::atLeast(V::load(maxima + b * V::kLanes), floor) != 0) count += gather<V>(x + b * width, width, bound, found + count);
  count += gather<V>(x + blocks * width, n - blocks * width, bound, found + count);
  return select<V>(found, count, k, most);
}

template <class V>
static std::int64_t atLeast(const float* x, std::int64_t n, float floor, std::int64_t capacity, std::int32_t* ids, float* values) {
  const typename V::Reg f = V::splat(floor);
  std::int64_t count = 0;
  const auto take = [&](std::int64_t i) {
    if (count < capacity) {
      ids[count] = static_cast<std::int32_t>(i);
      values[count] = x[i];
    }
    count++;
  };
  std::int64_t i = 0;
  for (; i + 4 * V::kLanes <= n; i += 4 * V::kLanes) {
    std::uint32_t masks[4];
    for (int v = 0; v < 4; v++) masks[v] = V::atLeast(V::load(x + i + v * V::kLanes), f);
    if ((masks[0] | masks[1] | masks[2] | masks[3]) == 0) continue;
    for (int v = 0; v < 4; v++)
      for (std::uint32_t mask = masks[v]; mask != 0; mask &= mask - 1) take(i + v * V::kLanes + __builtin_ctz(mask));
  }
  for (; i < n; i++)
    if (x[i] >= floor) take(i);
  return count;
}

}  // namespace megamoe::gemm::x86
