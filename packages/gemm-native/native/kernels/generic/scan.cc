// Logit scans in portable C++: by their definition.
#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>

#include "../draw.h"
#include "../mass.h"
#include "../scratch.h"
#include "generic.h"

namespace megamoe::gemm {

bool scanFloor(float kth, float temperature, float* floor) {
  constexpr int kMostSteps = 64;
  const float quotient = kth / temperature;
  *floor = kth;
  for (int step = 0; step < kMostSteps; step++) {
    std::uint32_t bits;
    std::memcpy(&bits, floor, sizeof bits);
    // The next float below: both zeros have the negative number nearest to them.
    bits = *floor == 0.f ? 0x80000001u : bits >> 31 != 0 ? bits + 1 : bits - 1;
    float below;
    std::memcpy(&below, &bits, sizeof below);
    if (!(below / temperature >= quotient)) return true;
    *floor = below;
  }
  return false;
}

}  // namespace megamoe::gemm

namespace megamoe::gemm::generic {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct ScanTag {};

std::int64_t firstNonFinite(const float* x, std::int64_t begin, std::int64_t end) {
  std::uint32_t all = 0;
  for (std::int64_t i = begin; i < end; i++) all |= exponentCarry(x[i]);
  if (all >> 31 == 0) return -1;
  while (exponentCarry(x[begin]) >> 31 == 0) begin++;
  return begin;
}

std::int64_t argmax(const float* x, std::int64_t n) {
  std::int64_t best = 0;
  for (std::int64_t i = 0; i < n; i++) {
    if (!(x[i] < kInfinity)) return -1 - i;
    if (x[i] > x[best]) best = i;
  }
  return best;
}

std::int64_t atLeast(const float* x, std::int64_t n, float floor, std::int64_t capacity, std::int32_t* ids,
                     float* values) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; i++) {
    if (!(x[i] >= floor)) continue;
    if (count < capacity) {
      ids[count] = static_cast<std::int32_t>(i);
      values[count] = x[i];
    }
    count++;
  }
  return count;
}

std::int64_t top(const float* x, std::int64_t n, std::int64_t k, float temperature, std::int64_t capacity,
                 std::int32_t* ids, float* values) {
  float* copy = threadScratch<float, ScanTag>(n);
  for (std::int64_t i = 0; i < n; i++) {
    if (!(x[i] < kInfinity)) return -1;
    copy[i] = x[i];
  }
  std::nth_element(copy, copy + k - 1, copy + n, std::greater<float>());
  float floor;
  return scanFloor(copy[k - 1], temperature, &floor) ? atLeast(x, n, floor, capacity, ids, values) : -1;
}

std::int64_t drawn(const float* x, std::int64_t n, float temperature, const Draw& draw, std::int64_t capacity,
                   std::int32_t* ids, float* values) {
  return mayWin(x, n, argmax(x, n), temperature, draw, capacity, ids, values);
}

double before(const float* x, std::int64_t n, float temperature, std::int64_t id) {
  return massBefore(x, n, argmax(x, n), temperature, id);
}

}  // namespace

const ScanKernels kScan = {firstNonFinite, argmax, top, atLeast, drawn, before};

}  // namespace megamoe::gemm::generic
