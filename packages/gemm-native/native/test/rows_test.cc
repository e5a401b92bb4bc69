// Gather, SwiGLU, scatter, sum, RMS norm and hyper-connections against float64, and the same bits for any number of
// threads.
#include <functional>

#include "support.h"

using namespace megamoe;
using namespace megamoe::gemm;
using namespace megamoe::gemm::test;

namespace {

// Runs `f(threads, out)` with 1, 2 and 5 threads and compares the bits; returns the result.
std::vector<float> everyThreads(std::int64_t size, const std::function<void(int, float*)>& f) {
  std::vector<float> first;
  for (const int threads : {1, 2, 5}) {
    std::vector<float> out = poisoned(size);
    f(threads, out.data());
    if (threads == 1) first = out;
    CHECK(sameBits(out, first));
  }
  return first;
}

void rows(const KernelTable& table, std::int64_t m, std::int64_t d) {
  Random random(static_cast<std::uint64_t>(m * d));
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  const std::vector<float> x = random.floats(2 * m * d), weight = random.floats(d);
  std::vector<std::int32_t> slots;
  for (std::int64_t i = 0; i < 3 * m; i++) slots.push_back(static_cast<std::int32_t>(random.below(m + 1) - 1));
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < m; i++) tokens.push_back(static_cast<std::int32_t>(random.below(m)));

  const auto gather = [&](int t, float* out) { table.gatherRows({x.data(), d, tokens.data(), m, out}, t); };
  const std::vector<float> gathered = everyThreads(m * d, gather);
  bool same = true;
  for (std::int64_t i = 0; i < m * d; i++) same = same && gathered[size(i)] == x[size(tokens[size(i / d)] * d + i % d)];
  CHECK(same);

  std::vector<double> want(size(m * d));
  for (std::int64_t i = 0; i < m * d; i++) {
    const double gate = std::fmin(x[size(i / d * 2 * d + i % d)], 0.4f);
    const double up = std::fmax(std::fmin(x[size(i / d * 2 * d + d + i % d)], 0.4f), -0.4f);
    want[size(i)] = gate / (1 + std::exp(-gate)) * up;
  }
  const auto swiglu = [&](int t, float* out) { table.swiglu({x.data(), m, d, 0.4f, out}, t); };
  CHECK(nmse(everyThreads(m * d, swiglu), want) < 1e-12);

  for (std::int64_t i = 0; i < m * d; i++) {
    want[size(i)] = 0;
    for (std::int64_t j = 0; j < 3; j++) {
      const std::int32_t slot = slots[size(i / d * 3 + j)];
      if (slot >= 0) want[size(i)] += double(weight[size(j % d)]) * x[size(slot * d + i % d)];
    }
  }
  std::vector<float> topkWeights;
  for (std::int64_t i = 0; i < 3 * m; i++) topkWeights.push_back(weight[size(i % 3 % d)]);
  const std::vector<float> scattered = everyThreads(m * d, [&](int t, float* out) {
    table.scatterExperts({x.data(), d, slots.data(), topkWeights.data(), m, 3, out}, t);
  });
  CHECK(nmse(scattered, want) < 1e-12);

  for (std::int64_t r = 0; r < m; r++) {
    double sum = 0;
    for (std::int64_t c = 0; c < d; c++) sum += double(x[size(r * d + c)]) * x[size(r * d + c)];
    for (std::int64_t c = 0; c < d; c++)
      want[size(r * d + c)] = x[size(r * d + c)] / std::sqrt(sum / double(d) + 1e-6) * weight[size(c)];
  }
  const auto norm = [&](int t, float* out) { table.rmsNorm({x.data(), m, d, weight.data(), 1e-6, out}, t); };
  const std::vector<float> normed = everyThreads(m * d, norm);
  CHECK(nmse(normed, want) < 1e-12);
  std::vector<float> inPlace(x.begin(), x.begin() + m * d);
  table.rmsNorm({inPlace.data(), m, d, weight.data(), 1e-6, inPlace.data()}, 2);
  CHECK(sameBits(inPlace, normed));
}

void hyper(const KernelTable& table, std::int64_t t, std::int64_t hc, std::int64_t d) {
  Random random(static_cast<std::uint64_t>(t * hc * d));
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  const std::int64_t mixes = (2 + hc) * hc, width = hc * d;
  const std::vector<float> streams = random.floats(t * width), fn = random.floats(mixes * width),
                           base = random.floats(mixes), scale = random.floats(3), block = random.floats(t * d);
  const std::int64_t combAt = t * hc, collapsedAt = combAt + t * hc * hc;
  const auto fill = [&](HyperParams& p) {
    p.streams = streams.data();
    p.t = t;
    p.hc = hc;
    p.d = d;
    p.fn = fn.data();
    p.base = base.data();
    p.scale = scale.data();
    p.rmsNormEps = 1e-6;
    p.hcEps = 1e-6;
  };
  const auto pre = [&](const KernelTable& of) {
    return everyThreads(collapsedAt + t * d, [&](int threads, float* out) {
      HcPreParams p{};
      fill(p);
      p.iters = 20;
      p.post = out;
      p.comb = out + combAt;
      p.collapsed = out + collapsedAt;
      of.hcPre(p, threads);
    });
  };
  const auto head = [&](const KernelTable& of) {
    return everyThreads(t * d, [&](int threads, float* out) {
      HcHeadParams p{};
      fill(p);
      p.out = out;
      of.hcHead(p, threads);
    });
  };
  const std::vector<float> got = pre(table);
  const KernelTable& portable = tables().back();
  CHECK(sameBits(got, pre(portable)));
  CHECK(sameBits(head(table), head(portable)));
  // The column sums of comb come last, so they are 1 but for eps and rounding; pre follows from post's formula and
  // collapsed.
  double worst = 0;
  for (std::int64_t i = 0; i < t; i++)
    for (std::int64_t k = 0; k < hc; k++) {
      double sum = 0;
      for (std::int64_t j = 0; j < hc; j++) sum += got[size(combAt + (i * hc + j) * hc + k)];
      worst = std::fmax(worst, std::fabs(sum - 1));
    }
  CHECK(worst < 1e-5);
  std::vector<double> post(size(t * hc)), collapsed(size(t * d));
  for (std::int64_t i = 0; i < t; i++) {
    const float* s = streams.data() + i * width;
    double square = 0;
    for (std::int64_t c = 0; c < width; c++) square += double(s[c]) * s[c];
    const double factor = 1 / std::sqrt(square / double(width) + 1e-6);
    const auto sigmoid = [&](std::int64_t row, int part) {
      double mix = 0;
      for (std::int64_t c = 0; c < width; c++) mix += double(fn[size(row * width + c)]) * s[c];
      return 1 / (1 + std::exp(-(mix * factor * scale[size(part)] + base[size(row)])));
    };
    for (std::int64_t j = 0; j < hc; j++) {
      post[size(i * hc + j)] = 2 * sigmoid(hc + j, 1);
      const double pre = sigmoid(j, 0) + 1e-6;
      for (std::int64_t c = 0; c < d; c++) collapsed[size(i * d + c)] += pre * s[j * d + c];
    }
  }
  CHECK(nmse(std::vector<float>(got.begin(), got.begin() + combAt), post) < 1e-10);
  CHECK(nmse(std::vector<float>(got.begin() + collapsedAt, got.end()), collapsed) < 1e-10);

  const std::vector<float> mixed = everyThreads(t * width, [&](int threads, float* out) {
    std::copy(streams.begin(), streams.end(), out);
    table.hcPost({out, block.data(), t, hc, d, got.data(), got.data() + combAt}, threads);
  });
  std::vector<double> want(size(t * width));
  for (std::int64_t i = 0; i < t * width; i++) {
    const std::int64_t token = i / width, k = i % width / d, c = i % d;
    want[size(i)] = double(got[size(token * hc + k)]) * block[size(token * d + c)];
    for (std::int64_t j = 0; j < hc; j++)
      want[size(i)] += double(got[size(combAt + (token * hc + j) * hc + k)]) * streams[size(token * width + j * d + c)];
  }
  CHECK(nmse(mixed, want) < 1e-12);
}

void add(const KernelTable& table) {
  const std::vector<float> x(100000, 1.5f);
  const std::vector<float> sum = everyThreads(100000, [&](int threads, float* out) {
    std::fill(out, out + 100000, 2.f);
    table.addInPlace({out, x.data(), 100000}, threads);
  });
  CHECK(sum == std::vector<float>(100000, 3.5f));
}

}  // namespace

int main() {
  for (const KernelTable& table : tables()) {
    for (const std::int64_t d : {1, 7, 8, 65, 512})
      for (const std::int64_t m : {1, 3, 50}) rows(table, m, d);
    for (const std::int64_t hc : {1, 2, 4, 16})
      for (const std::int64_t d : {1, 63, 64, 130}) hyper(table, 3, hc, d);
    // Enough tokens for groups of them: whole pieces of columns and others, rows of fn that fill no tile, the most
    // streams.
    for (const std::int64_t d : {64, 130, 256}) hyper(table, 40, 4, d);
    hyper(table, 53, 3, 77);
    hyper(table, 26, kMaxHc, 20);
    add(table);
  }
  return megamoe::test::finish();
}
