// Index selection against a full sort, with many ties, and NaN scores.
#include <megamoe/test.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../dispatch.h"
#include "../ops.h"
#include "naive.h"

using namespace attention;

namespace {

std::vector<int32_t> run(const KernelTable& k, IndexSelectParams p, int threads) {
  std::vector<int32_t> selected(static_cast<size_t>(p.n * p.topk + 3), -77);
  p.selected = selected.data();
  runIndexSelect(k, p, threads);
  for (size_t i = static_cast<size_t>(p.n * p.topk); i < selected.size(); i++) CHECK(selected[i] == -77);
  selected.resize(static_cast<size_t>(p.n * p.topk));
  return selected;
}

void testCase(const KernelTable& k, int64_t heads, int64_t dim, int64_t topk, int64_t p0, int64_t n, uint64_t seed) {
  naive::Random random{seed};
  const int64_t ratio = 4, total = (p0 + n) / ratio;
  std::vector<float> entries, q, weights;
  // Small integers: every score is exact, and with relu most are equal.
  for (int64_t i = 0; i < total * dim; i++)
    entries.push_back(static_cast<float>(static_cast<int>(random.bits() % 3) - 1));
  for (int64_t i = 0; i < n * heads * dim; i++)
    q.push_back(static_cast<float>(static_cast<int>(random.bits() % 3) - 1));
  for (int64_t i = 0; i < n * heads; i++)
    weights.push_back(static_cast<float>(static_cast<int>(random.bits() % 3) - 1));
  IndexSelectParams p{};
  p.n = n;
  p.p0 = p0;
  p.ratio = ratio;
  p.dim = dim;
  p.heads = heads;
  p.topk = topk;
  p.entries = entries.data();
  p.q = q.data();
  p.headWeights = weights.data();
  const auto got = run(k, p, 1);
  for (int64_t r = 0; r < n; r++) {
    const int64_t visible = (p0 + r + 1) / ratio;
    std::vector<double> score(static_cast<size_t>(visible), 0.0);
    for (int64_t w = 0; w < visible; w++) {
      for (int64_t h = 0; h < heads; h++) {
        double dot = 0;
        for (int64_t i = 0; i < dim; i++)
          dot += q[static_cast<size_t>((r * heads + h) * dim + i)] * entries[static_cast<size_t>(w * dim + i)];
        score[static_cast<size_t>(w)] += std::max(dot, 0.0) * weights[static_cast<size_t>(r * heads + h)];
      }
    }
    std::vector<int32_t> order(static_cast<size_t>(visible));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return score[static_cast<size_t>(a)] > score[static_cast<size_t>(b)];
    });
    order.resize(static_cast<size_t>(std::min(topk, visible)));
    std::sort(order.begin(), order.end());
    order.resize(static_cast<size_t>(topk), -1);
    CHECK(std::equal(order.begin(), order.end(), got.begin() + r * topk));
  }
  CHECK(run(k, p, 3) == got);
}

void testNan(const KernelTable& k) {
  std::vector<float> entries = naive::filled(10 * 2, std::nanf("")), q = naive::filled(2, 1.0f),
                     weights = naive::filled(1, 1.0f);
  entries[6] = entries[7] = 1.0f;
  IndexSelectParams p{};
  p.n = 1;
  p.p0 = 39;
  p.ratio = 4;
  p.dim = 2;
  p.heads = 1;
  p.topk = 3;
  p.entries = entries.data();
  p.q = q.data();
  p.headWeights = weights.data();
  CHECK((run(k, p, 1) == std::vector<int32_t>{0, 1, 3}));
}

// Scores in double, for values that round.
std::vector<double> scoresOf(const IndexSelectParams& p, int64_t r, int64_t visible) {
  std::vector<double> score(static_cast<size_t>(visible), 0.0);
  for (int64_t w = 0; w < visible; w++) {
    for (int64_t h = 0; h < p.heads; h++) {
      double dot = 0;
      for (int64_t i = 0; i < p.dim; i++)
        dot += static_cast<double>(p.q[(r * p.heads + h) * p.dim + i]) * p.entries[w * p.dim + i];
      score[static_cast<size_t>(w)] += std::max(dot, 0.0) * p.headWeights[r * p.heads + h];
    }
  }
  return score;
}

// Real numbers: what is taken is no worse than what is left, but for rounding; any rows at once and any threads choose
// the same.
void testReal(const KernelTable& k, int64_t heads, int64_t dim, int64_t topk, int64_t p0, int64_t n, uint64_t seed) {
  naive::Random random{seed};
  const auto entries = random.floats((p0 + n) / 4 * dim), q = random.floats(n * heads * dim),
             weights = random.floats(n * heads);
  IndexSelectParams p{};
  p.n = n;
  p.p0 = p0;
  p.ratio = 4;
  p.dim = dim;
  p.heads = heads;
  p.topk = topk;
  p.entries = entries.data();
  p.q = q.data();
  p.headWeights = weights.data();
  const auto got = run(k, p, 1);
  CHECK(run(k, p, 2) == got);
  CHECK(run(k, p, 5) == got);
  for (int64_t r = 0; r < n; r++) {
    IndexSelectParams one = p;
    one.n = 1;
    one.row0 = r;
    one.p0 = p0 + r;
    const auto alone = run(k, one, 3);
    CHECK(std::equal(alone.begin(), alone.end(), got.begin() + r * topk));
    const auto score = scoresOf(p, r, (p0 + r + 1) / 4);
    std::vector<bool> taken(score.size(), false);
    double worst = 1e30, best = -1e30;
    for (int64_t j = 0; j < topk; j++) {
      const size_t w = static_cast<size_t>(alone[static_cast<size_t>(j)]);
      CHECK(!taken[w] && (j == 0 || alone[static_cast<size_t>(j)] > alone[static_cast<size_t>(j - 1)]));
      taken[w] = true;
      worst = std::min(worst, score[w]);
    }
    for (size_t w = 0; w < score.size(); w++) best = taken[w] ? best : std::max(best, score[w]);
    CHECK(worst >= best - 1e-5 * std::fabs(best));
  }
}

// The selection alone: signs, zeros, infinities, equal values, every k.
void testSelectTop(const KernelTable& k) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {0.0f,  1.0f,   -1.0f, 1e-45f, -1e-45f,   infinity, -infinity,
                                     3e38f, -3e38f, 0.0f,  1.0f,   -infinity, 2.0f};
  for (int64_t n : {2, 13, 15, 16, 17, 33, 100}) {
    naive::Random random{static_cast<uint64_t>(n)};
    std::vector<float> scores;
    for (int64_t i = 0; i < n; i++) scores.push_back(values[random.bits() % values.size()]);
    std::vector<int32_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
    });
    for (int64_t topk = 1; topk < n; topk++) {
      std::vector<int32_t> want(order.begin(), order.begin() + topk), got(static_cast<size_t>(topk + 1), -77);
      std::sort(want.begin(), want.end());
      auto scratch = naive::filled((n + kSelectPad - 1) / kSelectPad * kSelectPad, std::nanf(""));
      k.selectTop(scores.data(), scratch.data(), n, topk, got.data());
      CHECK(std::equal(want.begin(), want.end(), got.begin()));
      CHECK(got.back() == -77);
    }
  }
}

}  // namespace

int main() {
  for (const KernelTable* table : usableKernels()) {
    const KernelTable& k = *table;
    std::printf("%s\n", k.name);
    // dim^-0.5 and heads^-0.5 are powers of two, or there is one head: rounding cannot break a tie of the exact scores.
    testCase(k, 1, 1, 1, 0, 40, 1);
    testCase(k, 4, 16, 8, 0, 301, 2);
    testCase(k, 1, 17, 5, 200, 33, 3);
    testCase(k, 1, 3, 64, 1000, 3, 4);
    testCase(k, 16, 4, 0, 0, 9, 5);
    testCase(k, 64, 256, 512, 4000, 2, 6);
    testCase(k, 4, 4, 300, 0, 1203, 7);
    testNan(k);
    testReal(k, 64, 128, 40, 1000, 3, 8);
    testReal(k, 19, 37, 7, 500, 9, 9);
    testSelectTop(k);
  }
  return megamoe::test::finish();
}
