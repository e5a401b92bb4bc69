// Index selection against a full sort, with many ties, NaN scores, and pages of several sequences.
#include <megamoe/test.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../kernels/dispatch.h"
#include "naive.h"

using namespace megamoe::attention;

namespace {

// Entries of several sequences in pages that lie in any order, and queries that see some of them.
struct Problem {
  std::int64_t heads, dim, topk, pageRows;
  std::vector<float> q, weights;
  std::vector<std::vector<float>> keys;  // of each sequence, [entries, dim]
  std::vector<std::int32_t> visible, sequence;
  // As the kernels take them.
  std::vector<float> entries;
  std::vector<std::int32_t> pageIds, pageBase;
};

// Puts the entries of every sequence into pages; what no row may read is NaN.
void place(Problem& p, naive::Random& random) {
  std::vector<std::int32_t> bases;
  std::int64_t pages = 0;
  for (const auto& keys : p.keys) {
    bases.push_back(static_cast<std::int32_t>(p.pageIds.size()));
    const std::int64_t used = (static_cast<std::int64_t>(keys.size()) / p.dim + p.pageRows - 1) / p.pageRows;
    for (std::int64_t i = 0; i < used; i++) p.pageIds.push_back(static_cast<std::int32_t>(pages++));
  }
  for (std::size_t i = p.pageIds.size(); i > 1; i--) std::swap(p.pageIds[i - 1], p.pageIds[random.bits() % i]);
  p.entries = naive::filled(pages * p.pageRows * p.dim, std::nanf(""));
  for (std::size_t s = 0; s < p.keys.size(); s++) {
    const std::int64_t count = static_cast<std::int64_t>(p.keys[s].size()) / p.dim;
    for (std::int64_t w = 0; w < count; w++) {
      const std::int64_t page = p.pageIds[static_cast<std::size_t>(bases[s] + w / p.pageRows)];
      std::copy_n(&p.keys[s][static_cast<std::size_t>(w * p.dim)], p.dim,
                  &p.entries[static_cast<std::size_t>((page * p.pageRows + w % p.pageRows) * p.dim)]);
    }
  }
  for (const std::int32_t s : p.sequence) p.pageBase.push_back(bases[static_cast<std::size_t>(s)]);
}

std::vector<std::int32_t> run(const KernelTable& k, const Problem& problem, int threads, std::int64_t from = 0,
                              std::int64_t to = -1) {
  const Problem& c = problem;
  const std::int64_t all = static_cast<std::int64_t>(c.visible.size());
  IndexSelectParams p{};
  p.rows = (to < 0 ? all : to) - from;
  p.heads = c.heads;
  p.dim = c.dim;
  p.topk = c.topk;
  p.q = c.q.data() + from * c.heads * c.dim;
  p.headWeights = c.weights.data() + from * c.heads;
  p.visible = c.visible.data() + from;
  p.pageBase = c.pageBase.data() + from;
  p.pageIds = c.pageIds.data();
  p.pageRows = c.pageRows;
  p.entries = c.entries.data();
  std::vector<std::int32_t> selected(static_cast<std::size_t>(p.rows * p.topk + 3), -77);
  p.selected = selected.data();
  k.indexSelect(p, threads);
  for (std::size_t i = static_cast<std::size_t>(p.rows * p.topk); i < selected.size(); i++) CHECK(selected[i] == -77);
  selected.resize(static_cast<std::size_t>(p.rows * p.topk));
  return selected;
}

// Scores in double.
std::vector<double> scoresOf(const Problem& p, std::int64_t r) {
  const auto& keys = p.keys[static_cast<std::size_t>(p.sequence[static_cast<std::size_t>(r)])];
  std::vector<double> score(static_cast<std::size_t>(p.visible[static_cast<std::size_t>(r)]), 0.0);
  for (std::size_t w = 0; w < score.size(); w++) {
    for (std::int64_t h = 0; h < p.heads; h++) {
      double dot = 0;
      for (std::int64_t i = 0; i < p.dim; i++)
        dot += static_cast<double>(p.q[static_cast<std::size_t>((r * p.heads + h) * p.dim + i)]) *
               keys[w * static_cast<std::size_t>(p.dim) + static_cast<std::size_t>(i)];
      score[w] += std::max(dot, 0.0) * p.weights[static_cast<std::size_t>(r * p.heads + h)];
    }
  }
  return score;
}

struct Case {
  std::int64_t heads, dim, topk;
  std::vector<std::int64_t> lengths;  // tokens of each sequence before its rows
  std::int64_t rows;                  // of each sequence
};

template <class Value>
Problem makeProblem(const Case& c, std::uint64_t seed, const Value& value) {
  naive::Random random{seed};
  Problem p{};
  p.heads = c.heads;
  p.dim = c.dim;
  p.topk = c.topk;
  p.pageRows = seed % 3 == 0 ? 5 : 64;
  const auto fill = [&](std::int64_t n, std::vector<float>& to) {
    for (std::int64_t i = 0; i < n; i++) to.push_back(value(random));
  };
  for (std::size_t s = 0; s < c.lengths.size(); s++) {
    p.keys.emplace_back();
    fill((c.lengths[s] + c.rows) / 4 * c.dim, p.keys.back());
    for (std::int64_t r = 0; r < c.rows; r++) {
      p.visible.push_back(static_cast<std::int32_t>((c.lengths[s] + r + 1) / 4));
      p.sequence.push_back(static_cast<std::int32_t>(s));
    }
  }
  const std::int64_t rows = static_cast<std::int64_t>(p.visible.size());
  fill(rows * c.heads * c.dim, p.q);
  fill(rows * c.heads, p.weights);
  place(p, random);
  return p;
}

// Any threads and any rows at once choose the same.
void testSplits(const KernelTable& k, const Problem& p, const std::vector<std::int32_t>& got) {
  CHECK(run(k, p, 3) == got);
  const std::int64_t rows = static_cast<std::int64_t>(p.visible.size());
  for (std::int64_t r = 0; r < rows; r++) {
    const auto alone = run(k, p, 2, r, r + 1);
    CHECK(std::equal(alone.begin(), alone.end(), got.begin() + r * p.topk));
  }
}

// Small integers: every score is exact, and with relu most are equal.
void testTies(const KernelTable& k, const Case& c, std::uint64_t seed) {
  const Problem p = makeProblem(
      c, seed, [](naive::Random& random) { return static_cast<float>(static_cast<int>(random.bits() % 3) - 1); });
  const auto got = run(k, p, 1);
  for (std::size_t r = 0; r < p.visible.size(); r++) {
    const auto score = scoresOf(p, static_cast<std::int64_t>(r));
    std::vector<std::int32_t> order(score.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return score[static_cast<std::size_t>(a)] > score[static_cast<std::size_t>(b)];
    });
    order.resize(std::min(static_cast<std::size_t>(c.topk), order.size()));
    std::sort(order.begin(), order.end());
    order.resize(static_cast<std::size_t>(c.topk), -1);
    CHECK(std::equal(order.begin(), order.end(), got.begin() + static_cast<std::int64_t>(r) * c.topk));
  }
  testSplits(k, p, got);
}

// Real numbers: what is taken is no worse than what is left, but for rounding.
void testReal(const KernelTable& k, const Case& c, std::uint64_t seed) {
  const Problem p = makeProblem(c, seed, [](naive::Random& random) { return random.floats(1)[0]; });
  const auto got = run(k, p, 1);
  for (std::size_t r = 0; r < p.visible.size(); r++) {
    if (p.visible[r] <= c.topk) continue;
    const auto score = scoresOf(p, static_cast<std::int64_t>(r));
    std::vector<bool> taken(score.size(), false);
    double worst = 1e30, best = -1e30;
    const std::int32_t* const row = got.data() + static_cast<std::int64_t>(r) * c.topk;
    for (std::int64_t i = 0; i < c.topk; i++) {
      const auto w = static_cast<std::size_t>(row[i]);
      CHECK(!taken[w] && (i == 0 || row[i] > row[i - 1]));
      taken[w] = true;
      worst = std::min(worst, score[w]);
    }
    for (std::size_t w = 0; w < score.size(); w++) best = taken[w] ? best : std::max(best, score[w]);
    CHECK(worst >= best - 1e-5 * std::fabs(best));
  }
  testSplits(k, p, got);
}

void testNan(const KernelTable& k) {
  naive::Random random{1};
  Problem p{};
  p.heads = 1;
  p.dim = 2;
  p.topk = 3;
  p.pageRows = 64;
  p.keys.push_back(naive::filled(10 * 2, std::nanf("")));
  p.keys[0][6] = p.keys[0][7] = 1.0f;
  p.q = naive::filled(2, 1.0f);
  p.weights = naive::filled(1, 1.0f);
  p.visible = {10};
  p.sequence = {0};
  place(p, random);
  CHECK((run(k, p, 1) == std::vector<std::int32_t>{0, 1, 3}));
}

void testSelectTop(const KernelTable& k) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {0.0f,  1.0f,   -1.0f, 1e-45f, -1e-45f,   infinity, -infinity,
                                     3e38f, -3e38f, 0.0f,  1.0f,   -infinity, 2.0f};
  for (std::int64_t n : {2, 13, 15, 16, 17, 33, 100}) {
    naive::Random random{static_cast<std::uint64_t>(n)};
    std::vector<float> scores;
    for (std::int64_t i = 0; i < n; i++) scores.push_back(values[random.bits() % values.size()]);
    std::vector<std::int32_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
    });
    for (std::int64_t topk = 1; topk < n; topk++) {
      std::vector<std::int32_t> want(order.begin(), order.begin() + topk), got(static_cast<std::size_t>(topk + 1), -77);
      std::sort(want.begin(), want.end());
      auto scratch = naive::filled((n + kSelectPad - 1) / kSelectPad * kSelectPad, std::nanf(""));
      k.ranges->selectTop(scores.data(), scratch.data(), n, topk, got.data());
      CHECK(std::equal(want.begin(), want.end(), got.begin()));
      CHECK(got.back() == -77);
    }
  }
}

}  // namespace

int main() {
  for (const KernelTable& k : availableTables()) {
    std::printf("%s\n", k.isa);
    // dim^-0.5 and heads^-0.5 are powers of two, or there is one head: rounding cannot break a tie of the exact scores.
    testTies(k, {1, 1, 1, {0}, 40}, 1);
    testTies(k, {4, 16, 8, {0, 250, 700}, 101}, 2);
    testTies(k, {1, 17, 5, {200, 3, 90, 91}, 33}, 3);
    testTies(k, {1, 3, 64, {1000, 0}, 3}, 4);
    testTies(k, {16, 4, 0, {0, 40}, 9}, 5);
    testTies(k, {64, 256, 512, {4000, 100, 2100}, 2}, 6);
    testTies(k, {4, 4, 300, {0}, 1203}, 7);
    testNan(k);
    testReal(k, {64, 128, 40, {1000, 300}, 3}, 8);
    testReal(k, {19, 37, 7, {500, 20, 21, 22, 777}, 9}, 9);
    testSelectTop(k);
  }
  return megamoe::test::finish();
}
