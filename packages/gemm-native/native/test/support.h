// Seeded data and guarded buffers for the kernel tests.
#pragma once

#include <megamoe/codecs.h>
#include <megamoe/test.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "../kernels/dispatch.h"

namespace megamoe::gemm::test {

// Every table that runs here; each test goes through all of them.
inline const std::vector<KernelTable>& tables() { return availableTables(); }

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  std::uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<std::uint32_t>(state_ >> 32);
  }
  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(next() % static_cast<std::uint32_t>(n)); }
  float uniform() { return static_cast<float>(next() >> 8) * 0x1p-23f - 1.f; }  // [-1, 1)
  std::vector<float> floats(std::int64_t n) {
    std::vector<float> v(static_cast<std::size_t>(n));
    for (float& x : v) x = uniform();
    return v;
  }
  std::vector<std::uint8_t> bytes(std::int64_t n, int most = 255) {
    std::vector<std::uint8_t> v(static_cast<std::size_t>(n));
    for (std::uint8_t& x : v) x = static_cast<std::uint8_t>(below(most + 1));
    return v;
  }

 private:
  std::uint64_t state_;
};

// NaN before it is written, and a guard behind it that must stay. Exactly sized, so that a sanitizer sees every step
// outside.
inline std::vector<float> poisoned(std::int64_t n) {
  return std::vector<float>(static_cast<std::size_t>(n), std::nanf(""));
}

inline bool sameBits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); i++)
    if (floatToBits(a[i]) != floatToBits(b[i])) return false;
  return true;
}

// Sum of squared differences over the sum of squares of `want`; NaN anywhere gives NaN, which fails every comparison.
inline double nmse(const std::vector<float>& got, const std::vector<double>& want) {
  double error = 0, power = 0;
  for (std::size_t i = 0; i < want.size(); i++) {
    const double d = static_cast<double>(got[i]) - want[i];
    error += d * d;
    power += want[i] * want[i];
  }
  return error == 0 ? 0 : error / power;
}

}  // namespace megamoe::gemm::test
