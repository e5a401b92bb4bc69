// Scans of logits for any vector width.
//
// The k-th largest needs one pass over memory: it keeps the maxima of groups that lie across vector lanes. The k-th
// largest of those is a bound that at least k values reach, so the answer is among the few values at or above it, found
// again in the groups that have any. Selection is by bisection over float32 bit patterns, each step a count that
// vectors do.
#pragma once

#include <cstdint>
#include <cstring>

#include "../draw.h"
#include "../kernel_table.h"
#include "../mass.h"
#include "ranges.h"

namespace megamoe::gemm::simd {

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

// The largest value that at least k of x reach, 1 <= k <= n: the k-th largest. `most` is the largest of x. With `slack`
// keys of slack, a value that is reached by at least k and at most that much too low.
template <class V>
static float select(const float* x, std::int64_t n, std::int64_t k, float most, std::int64_t slack) {
  std::int64_t low = keyOf(-__builtin_inff()), high = keyOf(most);
  // An eighth of the largest, when that is positive: mostly low enough.
  const std::int64_t near = high - (std::int64_t{3} << 23);
  if (near > low && countAtLeast<V>(x, n, valueOf(near)) >= k) low = near;
  while (low + slack < high) {
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

// The largest of n values, n a multiple of kLanes.
template <class V>
static float largest(const float* x, std::int64_t n) {
  typename V::Reg most = V::splat(-__builtin_inff());
  for (std::int64_t i = 0; i < n; i += V::kLanes) most = V::max(most, V::load(x + i));
  return largestLane<V>(most);
}

// Maxima of whole groups: maxima[b*kLanes + l] of the kGroup vectors of block b. False when a NaN or +infinity is among
// them.
template <class V>
static bool groupMaxima(const float* x, std::int64_t blocks, float* maxima) {
  std::uint32_t bad = 0;
  for (std::int64_t b = 0; b < blocks; b++, x += kGroup * V::kLanes) {
    typename V::Reg most[4];
    for (int i = 0; i < 4; i++) most[i] = V::splat(-__builtin_inff());
    for (std::int64_t g = 0; g < kGroup; g += 8) {
      typename V::Reg v[2][4];  // all eight loads before the first use: more of them are under way
      for (int i = 0; i < 8; i++) v[i / 4][i % 4] = V::load(x + (g + i) * V::kLanes);
      V::hold(v[0], v[1]);
      for (int i = 0; i < 8; i++) {
        bad |= V::notBelowInfinity(v[i / 4][i % 4]);
        most[i % 4] = V::max(most[i % 4], v[i / 4][i % 4]);
      }
    }
    V::store(maxima + b * V::kLanes, V::max(V::max(most[0], most[1]), V::max(most[2], most[3])));
  }
  return bad == 0;
}

// The compiler makes vectors of this one.
template <class V>
static std::int64_t firstNonFinite(const float* x, std::int64_t begin, std::int64_t end) {
  std::uint32_t all = 0;
  for (std::int64_t i = begin; i < end; i++) all |= exponentCarry(x[i]);
  if (all >> 31 == 0) return -1;
  while (exponentCarry(x[begin]) >> 31 == 0) begin++;
  return begin;
}

template <class V>
static std::int64_t argmax(const float* x, std::int64_t n) {
  const std::int64_t width = kGroup * V::kLanes, blocks = n / width;
  float* maxima =
      static_cast<float*>(scratchBytes(Slot::scan, static_cast<std::size_t>(blocks * V::kLanes) * sizeof(float)));
  bool isGood = groupMaxima<V>(x, blocks, maxima);
  for (std::int64_t i = blocks * width; i < n; i++) isGood = isGood && x[i] < __builtin_inff();
  if (!isGood)
    for (std::int64_t i = 0;; i++)
      if (!(x[i] < __builtin_inff())) return -1 - i;
  std::int64_t bestBlock = 0;
  float best = -__builtin_inff();
  if (blocks > 0) {
    best = largest<V>(maxima, blocks * V::kLanes);
    while (V::atLeast(V::load(maxima + bestBlock * V::kLanes), V::splat(best)) == 0) bestBlock++;
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
  const std::int64_t whole = n - n % V::kLanes;
  std::int64_t count = 0, i = 0;
  for (; i < whole; i += V::kLanes)
    for (std::uint32_t mask = V::atLeast(V::load(x + i), f); mask != 0; mask &= mask - 1)
      out[count++] = x[i + __builtin_ctz(mask)];
  for (; i < n; i++)
    if (x[i] >= floor) out[count++] = x[i];
  return count;
}

// Appends those of x[begin, end) that are at least floor; those past the capacity are only counted.
template <class V>
static void append(const float* x, std::int64_t begin, std::int64_t end, float floor, std::int64_t capacity,
                   std::int32_t* ids, float* values, std::int64_t* count) {
  const typename V::Reg f = V::splat(floor);
  const auto take = [&](std::int64_t i) {
    if (*count < capacity) {
      ids[*count] = static_cast<std::int32_t>(i);
      values[*count] = x[i];
    }
    ++*count;
  };
  std::int64_t i = begin;
  for (; i + 4 * V::kLanes <= end; i += 4 * V::kLanes) {
    std::uint32_t masks[4];
    for (int v = 0; v < 4; v++) masks[v] = V::atLeast(V::load(x + i + v * V::kLanes), f);
    if ((masks[0] | masks[1] | masks[2] | masks[3]) == 0) continue;
    for (int v = 0; v < 4; v++)
      for (std::uint32_t mask = masks[v]; mask != 0; mask &= mask - 1) take(i + v * V::kLanes + __builtin_ctz(mask));
  }
  for (; i < end; i++)
    if (x[i] >= floor) take(i);
}

template <class V>
static std::int64_t atLeast(const float* x, std::int64_t n, float floor, std::int64_t capacity, std::int32_t* ids,
                            float* values) {
  std::int64_t count = 0;
  append<V>(x, 0, n, floor, capacity, ids, values, &count);
  return count;
}

template <class V>
static std::int64_t top(const float* x, std::int64_t n, std::int64_t k, float temperature, std::int64_t capacity,
                        std::int32_t* ids, float* values) {
  const std::int64_t width = kGroup * V::kLanes, blocks = n / width, groups = blocks * V::kLanes;
  float* maxima = static_cast<float*>(scratchBytes(Slot::scan, static_cast<std::size_t>(groups + n) * sizeof(float)));
  bool isGood = groupMaxima<V>(x, blocks, maxima);
  float mostOfRest = -__builtin_inff();
  for (std::int64_t i = blocks * width; i < n; i++) {
    isGood = isGood && x[i] < __builtin_inff();
    mostOfRest = x[i] > mostOfRest ? x[i] : mostOfRest;
  }
  if (!isGood) return -1;
  const float mostOfGroups = largest<V>(maxima, groups), most = mostOfGroups > mostOfRest ? mostOfGroups : mostOfRest;
  float floor;
  if (k > groups / 2) {  // a bound would hold back too little
    if (!scanFloor(select<V>(x, n, k, most, 0), temperature, &floor)) return -1;
    return atLeast<V>(x, n, floor, capacity, ids, values);
  }
  const float bound = select<V>(maxima, groups, k, mostOfGroups, 1 << 13);
  const auto eachBlock = [&](float from, const auto& fn) {
    const typename V::Reg f = V::splat(from);
    for (std::int64_t b = 0; b < blocks; b++)
      if (V::atLeast(V::load(maxima + b * V::kLanes), f) != 0) fn(b * width, (b + 1) * width);
    fn(blocks * width, n);
  };
  float* const found = maxima + groups;
  std::int64_t count = 0;
  eachBlock(bound, [&](std::int64_t begin, std::int64_t end) {
    count += gather<V>(x + begin, end - begin, bound, found + count);
  });
  if (!scanFloor(select<V>(found, count, k, most, 0), temperature, &floor)) return -1;
  count = 0;
  eachBlock(floor, [&](std::int64_t begin, std::int64_t end) {
    append<V>(x, begin, end, floor, capacity, ids, values, &count);
  });
  return count;
}

template <class V>
static std::int64_t drawn(const float* x, std::int64_t n, float temperature, const Draw& draw, std::int64_t capacity,
                          std::int32_t* ids, float* values) {
  return mayWin(x, n, argmax<V>(x, n), temperature, draw, capacity, ids, values);
}

template <class V>
static double before(const float* x, std::int64_t n, float temperature, std::int64_t id) {
  return massBefore(x, n, argmax<V>(x, n), temperature, id);
}

template <class V>
static void setScan(KernelTable& t) {
  t.scan = {firstNonFinite<V>, argmax<V>, top<V>, atLeast<V>, drawn<V>, before<V>};
}

}  // namespace megamoe::gemm::simd
