// Gathered attention against a double softmax, for odd shapes; threads, row grouping, sinks, poison.
#include <megamoe/test.h>

#include <algorithm>
#include <cmath>

#include "../kernels/dispatch.h"
#include "naive.h"

using namespace megamoe::attention;

namespace {

// The first `windowRows` of the keys lie in the window, the others are entries.
struct Case {
  std::int64_t heads, d, windowRows, nEntries, n, keyCap;
};

struct Problem {
  Case c;
  std::vector<float> window, entries, q, sinks;
  std::vector<std::int32_t> nearIndex, nearStart, nearCount, farIndex, farStart, farCount;
  float scale;

  std::int64_t keyCount(std::int64_t r) const {
    return nearCount[static_cast<std::size_t>(r)] + farCount[static_cast<std::size_t>(r)];
  }
  // Key j of row r.
  const float* key(std::int64_t r, std::int64_t j) const {
    const auto row = static_cast<std::size_t>(r);
    if (j < nearCount[row])
      return &window[static_cast<std::size_t>(nearIndex[static_cast<std::size_t>(nearStart[row] + j)] * c.d)];
    return &entries[static_cast<std::size_t>(farIndex[static_cast<std::size_t>(farStart[row] + j - nearCount[row])] *
                                             c.d)];
  }
};

// Gives each row `counts[r]` keys, `near[r]` of them in the window; lists of rows that follow each other overlap, as
// those of a sequence do.
void setKeys(Problem& p, const std::vector<std::int64_t>& counts, const std::vector<std::int64_t>& near,
             naive::Random& random) {
  const auto fill = [&](std::vector<std::int32_t>& index, std::vector<std::int32_t>& start,
                        std::vector<std::int32_t>& count, std::int64_t rows, const std::vector<std::int64_t>& wanted) {
    start.clear();
    count.clear();
    index.assign(3, -12345);  // poison: not to be read
    for (const std::int64_t n : wanted) {
      const auto from = std::max<std::int64_t>(
          3, static_cast<std::int64_t>(index.size()) - static_cast<std::int64_t>(random.bits() % 9));
      start.push_back(static_cast<std::int32_t>(from));
      count.push_back(static_cast<std::int32_t>(n));
      while (static_cast<std::int64_t>(index.size()) < from + n)
        index.push_back(static_cast<std::int32_t>(random.bits() % static_cast<std::uint64_t>(rows)));
    }
    index.push_back(-12345);
  };
  std::vector<std::int64_t> far;
  for (std::size_t r = 0; r < counts.size(); r++) far.push_back(counts[r] - near[r]);
  fill(p.nearIndex, p.nearStart, p.nearCount, p.c.windowRows, near);
  fill(p.farIndex, p.farStart, p.farCount, std::max<std::int64_t>(1, p.c.nEntries), far);
}

// Each row's keys are rows 0 to counts[r] of the window.
void setInOrder(Problem& p, std::int64_t count) {
  p.nearStart = p.farStart = p.farCount = {0};
  p.nearCount = {static_cast<std::int32_t>(count)};
  p.nearIndex.clear();
  for (std::int64_t j = 0; j < count; j++) p.nearIndex.push_back(static_cast<std::int32_t>(j));
}

AttendParams paramsOf(const Problem& p, std::int64_t from, std::int64_t to, float* out) {
  AttendParams a{};
  a.rows = to - from;
  a.heads = p.c.heads;
  a.d = p.c.d;
  a.q = p.q.data() + from * p.c.heads * p.c.d;
  a.window = p.window.data();
  a.near = {p.nearIndex.data(), p.nearStart.data() + from, p.nearCount.data() + from};
  a.entries = p.entries.data();
  a.far = {p.farIndex.data(), p.farStart.data() + from, p.farCount.data() + from};
  a.sinks = p.sinks.data();
  a.softmaxScale = p.scale;
  a.out = out + from * p.c.heads * p.c.d;
  return a;
}

Problem makeProblem(const Case& c, std::uint64_t seed) {
  naive::Random random{seed};
  Problem p;
  p.c = c;
  p.window = random.floats(c.windowRows * c.d);
  p.entries = random.floats(c.nEntries * c.d);
  p.q = random.floats(c.n * c.heads * c.d, 2.0);
  p.sinks = random.floats(c.heads, 3.0);
  if (c.heads > 1) p.sinks[1] = -std::numeric_limits<float>::infinity();
  if (c.heads > 2) p.sinks[2] = std::numeric_limits<float>::infinity();
  std::vector<std::int64_t> counts, near;
  for (std::int64_t r = 0; r < c.n; r++) {
    const auto most = static_cast<std::uint64_t>(c.keyCap);
    counts.push_back(r == 0 ? 0
                            : std::min<std::int64_t>(c.keyCap, 1 + static_cast<std::int64_t>(random.bits() % most)));
    near.push_back(c.nEntries == 0
                       ? counts.back()
                       : static_cast<std::int64_t>(random.bits() % static_cast<std::uint64_t>(counts.back() + 1)));
  }
  setKeys(p, counts, near, random);
  p.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.d)));
  return p;
}

std::vector<float> run(const KernelTable& k, const Problem& p, int threads, std::int64_t rowsAtOnce) {
  std::vector<float> out = naive::filled(p.c.n * p.c.heads * p.c.d + 7, std::nanf(""));
  for (std::int64_t r = 0; r < p.c.n; r += rowsAtOnce)
    k.attend(paramsOf(p, r, std::min(r + rowsAtOnce, p.c.n), out.data()), threads);
  return out;
}

std::vector<double> expected(const Problem& p) {
  std::vector<double> out(static_cast<std::size_t>(p.c.n * p.c.heads * p.c.d), 0.0);
  for (std::int64_t r = 0; r < p.c.n; r++) {
    for (std::int64_t h = 0; h < p.c.heads; h++) {
      const std::int64_t at = (r * p.c.heads + h) * p.c.d;
      std::vector<double> s;
      std::vector<const float*> rows;
      double top = p.sinks[static_cast<std::size_t>(h)];
      for (std::int64_t j = 0; j < p.keyCount(r); j++) {
        const float* k = p.key(r, j);
        double dot = 0;
        for (std::int64_t i = 0; i < p.c.d; i++)
          dot += static_cast<double>(p.q[static_cast<std::size_t>(at + i)]) * k[i];
        s.push_back(dot * p.scale);
        rows.push_back(k);
        top = std::max(top, s.back());
      }
      if (s.empty() || top == naive::kInfinity) continue;
      double total = std::exp(p.sinks[static_cast<std::size_t>(h)] - top);
      for (double v : s) total += std::exp(v - top);
      for (std::size_t j = 0; j < s.size(); j++)
        for (std::int64_t i = 0; i < p.c.d; i++)
          out[static_cast<std::size_t>(at + i)] += std::exp(s[j] - top) / total * rows[j][i];
    }
  }
  return out;
}

// Largest error against `want`, a NaN where there is one.
double worstError(const std::vector<float>& got, const std::vector<double>& want) {
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); i++) {
    const double e = std::fabs(got[i] - want[i]);
    worst = e <= worst ? worst : e;
  }
  return worst;
}

// Halves of the keys as items of their own give what one thread gives for both.
void testHalves(const RangeKernels& k) {
  if (k.attendJoin == nullptr) return;
  for (const std::int64_t heads : {1, 17, 70}) {
    for (const std::int64_t d : {5, 130}) {
      const Case c{heads, d, 40, 90, 9, 130};
      Problem p = makeProblem(c, 77);
      naive::Random random{78};
      const std::vector<std::int64_t> counts = {0, 1, 31, 32, 33, 64, 65, 97, 130};
      std::vector<std::int64_t> near;
      for (const std::int64_t n : counts) near.push_back(std::min<std::int64_t>(n, 40));
      setKeys(p, counts, near, random);
      const auto want = expected(p);
      AttendJob job{paramsOf(p, 0, c.n, nullptr), std::min<std::int64_t>(heads, 32), nullptr};
      const AttendSizes sizes = k.attendSizes(job);
      const std::int64_t items = c.n * ((heads + job.headBlock - 1) / job.headBlock);
      const auto attendItems = [&](float* halves) {
        std::vector<float> out = naive::filled(c.n * heads * d, std::nanf(""));
        std::vector<float> scratch = naive::filled(sizes.scratch + 16, std::nanf(""));
        job.out = out.data();
        job.halves = halves;
        for (std::int64_t i = (halves == nullptr ? 1 : 2) * items - 1; i >= 0; i--)
          k.attend(job, i, i + 1, scratch.data());
        if (halves != nullptr) {
          const std::int64_t cut = c.n * heads / 3;  // in the middle of a row
          k.attendJoin(job, cut, c.n * heads);
          k.attendJoin(job, 0, cut);
        }
        return out;
      };
      std::vector<float> halves = naive::filled(2 * items * sizes.half, std::nanf(""));
      const auto apart = attendItems(halves.data());
      CHECK(worstError(apart, want) < 2e-6);
      CHECK(naive::sameBits(apart, attendItems(nullptr)));
    }
  }
}

void testCase(const KernelTable& k, const Case& c, std::uint64_t seed) {
  const Problem p = makeProblem(c, seed);
  const auto got = run(k, p, 1, c.n);
  const auto want = expected(p);
  const double worst = worstError(got, want);
  std::printf("%s heads %d d %d: largest error %.3g\n", k.isa, static_cast<int>(c.heads), static_cast<int>(c.d), worst);
  CHECK(worst < 2e-6);
  for (std::size_t i = want.size(); i < got.size(); i++) CHECK(std::isnan(got[i]));  // nothing written past the rows
  CHECK(naive::sameBits(got, run(k, p, 2, c.n)));
  CHECK(naive::sameBits(got, run(k, p, 5, 2)));
  CHECK(naive::sameBits(got, run(k, p, 1, 1)));
  CHECK(naive::sameBits(got, run(k, p, 7, 1)));  // heads cut into more blocks than otherwise
}

// One head's NaN stays in it, a key's NaN shows in every head that reads it, and logits of -Infinity weigh nothing.
void testSpecial(const KernelTable& k) {
  const Case c{20, 70, 40, 0, 1, 40};
  Problem p = makeProblem(c, 50);
  p.sinks.assign(20, 0.5f);
  setInOrder(p, 40);
  const auto clean = run(k, p, 1, 1);
  p.q[17 * 70 + 3] = std::nanf("");
  const auto one = run(k, p, 1, 1);
  for (std::size_t i = 0; i < 20 * 70; i++) CHECK(i / 70 == 17 ? std::isnan(one[i]) : one[i] == clean[i]);
  p.window[39 * 70] = std::nanf("");
  const auto all = run(k, p, 1, 1);
  for (std::size_t i = 0; i < 20 * 70; i++) CHECK(std::isnan(all[i]));

  Problem low = makeProblem(c, 51);
  setInOrder(low, 40);
  low.q.assign(low.q.size(), 0.0f);
  for (std::size_t h = 0; h < 20; h++) low.q[h * 70] = -3e38f;
  for (std::size_t j = 0; j < 40; j++)
    low.window[j * 70] = j < 36 ? 3e38f : -1e-30f;  // a whole block weighs nothing, then four keys do
  low.sinks.assign(20, -std::numeric_limits<float>::infinity());
  const auto tail = run(k, low, 1, 1);
  for (std::size_t h = 0; h < 20; h++) {
    for (std::size_t i = 1; i < 70; i++) {
      double mean = 0;
      for (std::size_t j = 36; j < 40; j++) mean += low.window[j * 70 + i] / 4.0;
      CHECK(std::fabs(tail[h * 70 + i] - mean) < 1e-6);
    }
  }
  setInOrder(low, 36);
  for (float x : run(k, low, 1, 1)) CHECK(x == 0.0f || std::isnan(x));  // the poison past the rows is NaN
}

void testAgainstGeneric(const KernelTable& k) {
  const Problem p = makeProblem({64, 512, 128, 640, 3, 640}, 60);
  const auto got = run(k, p, 1, 3), want = run(availableTables().back(), p, 1, 3);
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < 3 * 64 * 512; i++) {
    difference += (static_cast<double>(got[i]) - want[i]) * (static_cast<double>(got[i]) - want[i]);
    size += static_cast<double>(want[i]) * want[i];
  }
  std::printf("%s: relative difference from generic %.3g\n", k.isa, std::sqrt(difference / size));
  CHECK(difference <= 1e-12 * size);  // 1e-6 relative: ten times better than promised
}

}  // namespace

int main() {
  const Case cases[] = {{1, 1, 1, 0, 2, 1},          {3, 5, 4, 3, 6, 7},      {8, 16, 9, 40, 5, 31},
                        {9, 17, 9, 40, 5, 32},       {4, 32, 40, 9, 7, 33},   {17, 64, 20, 60, 3, 65},
                        {64, 512, 128, 160, 3, 160}, {33, 72, 30, 60, 4, 70}, {65, 130, 20, 20, 2, 36},
                        {96, 100, 20, 20, 2, 38},    {130, 65, 9, 9, 2, 40}};
  for (const KernelTable& k : availableTables()) {
    std::uint64_t seed = 1;
    for (const Case& c : cases) testCase(k, c, seed++);
    testSpecial(k);
    testHalves(*k.ranges);
    testAgainstGeneric(k);
  }
  return megamoe::test::finish();
}
