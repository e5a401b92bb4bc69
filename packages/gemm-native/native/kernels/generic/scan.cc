// Logit scans in portable C++: by their definition.
#include "scan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "../scratch.h"

namespace megamoe::gemm::generic {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct ScanTag {};

std::int64_t argmax(const float* x, std::int64_t n) {
  std::int64_t best = 0;
  for (std::int64_t i = 0; i < n; i++) {
    if (!(x[i] < kInfinity)) return -1 - i;
    if (x[i] > x[best]) best = i;
  }
  return best;
}

float kthLargest(const float* x, std::int64_t n, std::int64_t k) {
  float* copy = threadScratch<float, ScanTag>(n);
  for (std::int64_t i = 0; i < n; i++) {
    if (!(x[i] < kInfinity)) return std::nanf("");
    copy[i] = x[i];
  }
  std::nth_element(copy, copy + k - 1, copy + n, std::greater<float>());
  return copy[k - 1];
}

std::int64_t atLeast(const float* x, std::int64_t n, float floor, std::int64_t capacity, std::int32_t* ids, float* values) {
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

}  // namespace

const ScanKernels kScan = {argmax, kthLargest, atLeast};

}  // namespace megamoe::gemm::generic
