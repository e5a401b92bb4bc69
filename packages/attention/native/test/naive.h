// What the tests compare with: the same mathematics in double, written as the formulas read, and a small random
// generator.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace naive {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Random {  // splitmix64
  std::uint64_t state;
  std::uint64_t bits() {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }
  std::vector<float> floats(std::int64_t n, double range = 1.0) {
    std::vector<float> v(static_cast<std::size_t>(n));
    for (float& x : v) x = static_cast<float>((unit() * 2 - 1) * range);
    return v;
  }
};

inline std::vector<float> filled(std::int64_t n, float value) {
  return std::vector<float>(static_cast<std::size_t>(n), value);
}

inline bool sameBits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); i++) {
    if (!(a[i] == b[i]) && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  }
  return true;
}

}  // namespace naive
