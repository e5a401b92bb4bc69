// Index selection against a full sort, with many ties, and NaN scores.
#include <megamoe/test.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../ops.h"
#include "naive.h"

using namespace attention;

namespace {

std::vector<int32_t> run(IndexSelectParams p, int threads) {
  std::vector<int32_t> selected(static_cast<size_t>(p.n * p.topk + 3), -77);
  p.selected = selected.data();
  runIndexSelect(kGenericKernels, p, threads);
  for (size_t i = static_cast<size_t>(p.n * p.topk); i < selected.size(); i++) CHECK(selected[i] == -77);
  selected.resize(static_cast<size_t>(p.n * p.topk));
  return selected;
}

void testCase(int64_t heads, int64_t dim, int64_t topk, int64_t p0, int64_t n, uint64_t seed) {
  naive::Random random{seed};
  const int64_t ratio = 4, total = (p0 + n) / ratio;
  std::vector<float> entries, q, weights;
  // Small integers: every score is exact, and with relu most are equal.
  for (int64_t i = 0; i < total * dim; i++) entries.push_back(static_cast<float>(static_cast<int>(random.bits() % 3) - 1));
  for (int64_t i = 0; i < n * heads * dim; i++) q.push_back(static_cast<float>(static_cast<int>(random.bits() % 3) - 1));
  for (int64_t i = 0; i < n * heads; i++) weights.push_back(static_cast<float>(static_cast<int>(random.bits() % 3) - 1));
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
  const auto got = run(p, 1);
  for (int64_t r = 0; r < n; r++) {
    const int64_t visible = (p0 + r + 1) / ratio;
    std::vector<double> score(static_cast<size_t>(visible), 0.0);
    for (int64_t w = 0; w < visible; w++) {
      for (int64_t h = 0; h < heads; h++) {
        double dot = 0;
        for (int64_t i = 0; i < dim; i++) dot += q[static_cast<size_t>((r * heads + h) * dim + i)] * entries[static_cast<size_t>(w * dim + i)];
        score[static_cast<size_t>(w)] += std::max(dot, 0.0) * weights[static_cast<size_t>(r * heads + h)];
      }
    }
    std::vector<int32_t> order(static_cast<size_t>(visible));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return score[static_cast<size_t>(a)] > score[static_cast<size_t>(b)]; });
    order.resize(static_cast<size_t>(std::min(topk, visible)));
    std::sort(order.begin(), order.end());
    order.resize(static_cast<size_t>(topk), -1);
    CHECK(std::equal(order.begin(), order.end(), got.begin() + r * topk));
  }
  CHECK(run(p, 3) == got);
}

void testNan() {
  std::vector<float> entries = naive::filled(10 * 2, std::nanf("")), q = naive::filled(2, 1.0f), weights = naive::filled(1, 1.0f);
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
  CHECK((run(p, 1) == std::vector<int32_t>{0, 1, 3}));
}

}  // namespace

int main() {
  // dim^-0.5 and heads^-0.5 are powers of two, or there is one head: rounding cannot break a tie of the exact scores.
  testCase(1, 1, 1, 0, 40, 1);
  testCase(4, 16, 8, 0, 301, 2);
  testCase(1, 17, 5, 200, 33, 3);
  testCase(1, 3, 64, 1000, 3, 4);
  testCase(16, 4, 0, 0, 9, 5);
  testCase(64, 256, 512, 4000, 2, 6);
  testCase(4, 4, 300, 0, 1203, 7);
  testNan();
  return megamoe::test::finish();
}
