// What the C++ tests share: a GPU or a skip, seeded data, and memory of both sides.
#pragma once

#include <megamoe/test.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "../device/device.h"

namespace megamoe::cuda::test {

// ctest's word for "skipped".
constexpr int kSkip = 77;

inline bool hasGpu() {
  const Machine machine = findMachine();
  if (machine.devices > 0 && infoOf(0).hasCode) return true;
  std::printf("skipped: no GPU that this build has code for (%s)\n", cudaGetErrorName(machine.error));
  return false;
}

using Random = std::mt19937;

inline std::vector<std::uint8_t> bytes(Random& r, std::size_t n, unsigned below = 256) {
  std::vector<std::uint8_t> out(n);
  for (auto& b : out) b = static_cast<std::uint8_t>(r() % below);
  return out;
}

inline std::vector<float> floats(Random& r, std::size_t n, float scale = 1.f) {
  std::normal_distribution<float> normal(0.f, scale);
  std::vector<float> out(n);
  for (auto& v : out) v = normal(r);
  return out;
}

template <class T>
T* put(Device& device, const std::vector<T>& data) {
  T* memory = static_cast<T*>(device.allocate(data.size() * sizeof(T)));
  device.upload(memory, data.data(), data.size() * sizeof(T));
  return memory;
}

// Memory of `n` elements whose bytes are 0xff: NaN as floats.
template <class T>
T* poisoned(Device& device, std::size_t n) {
  return put(device, [&] {
    std::vector<T> data(n);
    std::memset(data.data(), 0xff, n * sizeof(T));
    return data;
  }());
}

template <class T>
std::vector<T> get(Device& device, const T* memory, std::size_t n) {
  std::vector<T> out(n);
  device.download(out.data(), memory, n * sizeof(T));
  CHECK(device.dataFailure().kind == DataError::none);
  return out;
}

// How many elements differ in any bit.
template <class T>
std::size_t differing(const std::vector<T>& a, const std::vector<T>& b) {
  std::size_t n = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size() && i < b.size(); i++) n += std::memcmp(&a[i], &b[i], sizeof(T)) != 0;
  return n;
}

}  // namespace megamoe::cuda::test
