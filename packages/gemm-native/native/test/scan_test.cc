// Scans of logits against their definition, on buffers of exact size, for lengths around vectors and groups.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "../kernels/draw.h"
#include "../kernels/scan.h"
#include "support.h"

using namespace megamoe;
using namespace megamoe::gemm;
using namespace megamoe::gemm::test;

namespace {

std::vector<float> logits(std::int64_t n, int kind) {
  Random random(static_cast<std::uint64_t>(n * 10 + kind));
  std::vector<float> x = random.floats(n);
  for (float& v : x) {
    if (kind == 1) v = static_cast<float>(random.below(7)) - 3.f;  // ties, zeros
    if (kind == 2 && random.below(10) > 0) v = -std::numeric_limits<float>::infinity();
    if (kind == 3) v = 1.5f;
  }
  return x;
}

void scanCase(const ScanKernels& scan, const std::vector<float>& x, std::int64_t k, float temperature) {
  const std::int64_t n = static_cast<std::int64_t>(x.size());
  std::vector<float> sorted = x;
  std::sort(sorted.begin(), sorted.end(), std::greater<float>());
  CHECK(scan.argmax(x.data(), n) == std::find(x.begin(), x.end(), sorted[0]) - x.begin());
  std::vector<std::int32_t> want;
  const float kth = sorted[static_cast<std::size_t>(k - 1)] / temperature;
  for (std::int64_t i = 0; i < n; i++)
    if (x[static_cast<std::size_t>(i)] / temperature >= kth) want.push_back(static_cast<std::int32_t>(i));
  for (const std::size_t capacity : {want.size(), want.size() / 2}) {
    std::vector<std::int32_t> ids(capacity, -7);
    std::vector<float> values = poisoned(static_cast<std::int64_t>(capacity));
    CHECK(scan.top(x.data(), n, k, temperature, static_cast<std::int64_t>(capacity), ids.data(), values.data()) ==
          static_cast<std::int64_t>(want.size()));
    bool same = true;
    for (std::size_t i = 0; i < capacity; i++)
      same = same && ids[i] == want[i] && values[i] == x[static_cast<std::size_t>(want[i])];
    CHECK(same);
  }
  CHECK(scan.atLeast(x.data(), n, sorted[0], 0, nullptr, nullptr) == std::count(x.begin(), x.end(), sorted[0]));
}

void badCase(const ScanKernels& scan, std::vector<float> x, std::size_t at, float bad) {
  x[at] = bad;
  CHECK(scan.argmax(x.data(), static_cast<std::int64_t>(x.size())) == -1 - static_cast<std::int64_t>(at));
  CHECK(scan.top(x.data(), static_cast<std::int64_t>(x.size()), 1, 1.f, 0, nullptr, nullptr) == -1);
  CHECK(scan.mayWin(x.data(), static_cast<std::int64_t>(x.size()), 1.f, {1, 2, 3, 4}, 0, nullptr, nullptr) == -1);
  CHECK(scan.massBefore(x.data(), static_cast<std::int64_t>(x.size()), 1.f, 0) == -1);
}

// -infinity too, and nothing before `begin` or from `end` on.
void nonFiniteCase(const ScanKernels& scan, std::vector<float> x, std::int64_t at, float bad) {
  const std::int64_t n = static_cast<std::int64_t>(x.size());
  CHECK(scan.firstNonFinite(x.data(), 0, n) == -1);
  x[static_cast<std::size_t>(at)] = bad;
  CHECK(scan.firstNonFinite(x.data(), 0, n) == at);
  CHECK(scan.firstNonFinite(x.data(), at, n) == at);
  CHECK(scan.firstNonFinite(x.data(), 0, at) == -1);
  CHECK(scan.firstNonFinite(x.data(), at + 1, n) == -1);
}

// The winner by definition is among those that are found, which are few, and the same everywhere.
void drawCase(const ScanKernels& scan, const std::vector<float>& x, float temperature, std::uint32_t seed) {
  const std::int64_t n = static_cast<std::int64_t>(x.size());
  const Draw draw = {seed, seed * 3, 2, seed % 1000};
  const float most = *std::max_element(x.begin(), x.end()) / temperature;
  std::int64_t winner = -1;
  double best = -1;
  std::uint32_t words[kDrawWords];
  for (std::int64_t i = 0; i < n; i++) {
    if (i % kDrawWords == 0) philoxWords(static_cast<std::uint32_t>(i / 4), draw, words);
    const double u = (words[i % kDrawWords] + 0.5) * 0x1p-32;
    const float scaled = x[static_cast<std::size_t>(i)] / temperature;
    const double score = std::exp(static_cast<double>(scaled) - most) / -std::log(u);
    if (score > best) best = score, winner = i;
  }
  std::vector<std::int32_t> ids(x.size(), -7), others(x.size(), -7);
  std::vector<float> values = poisoned(n);
  const std::int64_t count = scan.mayWin(x.data(), n, temperature, draw, n, ids.data(), values.data());
  if (most == -std::numeric_limits<float>::infinity()) {
    CHECK(count == -1);
    return;
  }
  CHECK(count >= 1 && static_cast<double>(count) < 8 + 4 * std::log(static_cast<double>(n)));
  CHECK(std::find(ids.begin(), ids.begin() + count, winner) != ids.begin() + count);
  const ScanKernels& generic = tables()[0].scan;
  CHECK(generic.mayWin(x.data(), n, temperature, draw, n, others.data(), values.data()) == count);
  CHECK(ids == others);
  CHECK(scan.mayWin(x.data(), n, temperature, draw, 0, nullptr, nullptr) == count);
}

// The share by definition, within what is promised, and the bits of generic.
void massCase(const ScanKernels& scan, const std::vector<float>& x, float temperature, std::int64_t id) {
  const std::int64_t n = static_cast<std::int64_t>(x.size());
  const float most = *std::max_element(x.begin(), x.end()) / temperature;
  const double got = scan.massBefore(x.data(), n, temperature, id);
  if (most == -std::numeric_limits<float>::infinity()) {
    CHECK(got == -1);
    return;
  }
  double all = 0, before = 0;
  for (std::int64_t i = 0; i < n; i++) {
    const float scaled = x[static_cast<std::size_t>(i)] / temperature;
    const double weight = std::exp(static_cast<double>(scaled) - most);
    all += weight;
    if (i != id && scaled >= x[static_cast<std::size_t>(id)] / temperature) before += weight;
  }
  CHECK(std::fabs(got - before / all) < 1e-5);
  CHECK(tables()[0].scan.massBefore(x.data(), n, temperature, id) == got);
}

// Random123 1.14.0, tests/kat_vectors: philox4x32 10.
void philoxCase() {
  std::uint32_t words[kDrawWords], later[kDrawWords];
  philoxWords(0, {0, 0, 0, 0}, words);
  CHECK(words[0] == 0x6627e8d5 && words[1] == 0xe169c58d && words[2] == 0xbc57ac4c && words[3] == 0x9b00dbd8);
  for (std::uint32_t block = 1; block < kDrawWords / 4; block++) {
    philoxWords(block, {0, 0, 0, 0}, later);
    CHECK(std::equal(later, later + 4, words + 4 * block));
  }
}

}  // namespace

int main() {
  philoxCase();
  for (const KernelTable& table : tables())
    for (const std::int64_t n : {1, 7, 8, 16, 17, 255, 256, 512, 513, 1030, 9000})
      for (int kind = 0; kind < 4; kind++) {
        const std::vector<float> x = logits(n, kind);
        for (const std::int64_t k : {std::int64_t{1}, std::int64_t{20}, n / 2, n})
          if (k >= 1 && k <= n)
            for (const float temperature : {1.f, 0.7f, 3.f}) scanCase(table.scan, x, k, temperature);
        for (std::uint32_t seed = 1; seed < 20; seed++)
          for (const float temperature : {1.f, 0.2f, 9.f}) drawCase(table.scan, x, temperature, seed * 7919);
        for (const std::int64_t id : {std::int64_t{0}, n / 2, n - 1})
          for (const float temperature : {1.f, 0.01f, 0.7f, 30.f}) massCase(table.scan, x, temperature, id);
        for (const float bad : {std::nanf(""), -std::nanf(""), std::numeric_limits<float>::infinity()})
          for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1})
            badCase(table.scan, x, static_cast<std::size_t>(at), bad);
        if (kind == 2) continue;  // holds -infinity already
        std::vector<float> large = x;
        large[0] = -std::numeric_limits<float>::max();
        for (const float bad : {std::nanf(""), -std::nanf("1"), std::numeric_limits<float>::infinity(),
                                -std::numeric_limits<float>::infinity()})
          for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) nonFiniteCase(table.scan, large, at, bad);
      }
  return megamoe::test::finish();
}
