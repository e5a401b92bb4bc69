// Compression against double, and the same bits for every chunking and thread count, for overlapping and plain windows.
#include <megamoe/test.h>

#include <algorithm>
#include <cmath>

#include "../dispatch.h"
#include "../ops.h"
#include "naive.h"

using namespace attention;

namespace {

struct Sequence {
  int64_t ratio, dim, width, ropeDim, tokens;
  std::vector<float> kv, gate, ape, norm, cos, sin;
};

struct State {
  std::vector<float> entries, partialKv, partialGate, overlapKv, overlapGate;
  int64_t position = 0;
};

Sequence makeSequence(int64_t ratio, bool overlaps, int64_t dim, int64_t ropeDim, int64_t tokens, uint64_t seed) {
  naive::Random random{seed};
  Sequence s;
  s.ratio = ratio;
  s.dim = dim;
  s.width = overlaps ? 2 * dim : dim;
  s.ropeDim = ropeDim;
  s.tokens = tokens;
  s.kv = random.floats(tokens * s.width);
  s.gate = random.floats(tokens * s.width, 4.0);
  s.ape = random.floats(ratio * s.width);
  s.norm = random.floats(dim);
  s.cos = random.floats((tokens / ratio + 1) * ropeDim / 2);
  s.sin = random.floats((tokens / ratio + 1) * ropeDim / 2);
  return s;
}

State run(const KernelTable& k, const Sequence& s, const std::vector<int64_t>& chunks, int threads) {
  State st;
  st.entries = naive::filled(s.tokens / s.ratio * s.dim, std::nanf(""));
  st.partialKv = naive::filled(s.ratio * s.width, std::nanf(""));
  st.partialGate = st.partialKv;
  st.overlapKv = naive::filled(s.ratio * s.dim, 0.0f);
  st.overlapGate = naive::filled(s.ratio * s.dim, -std::numeric_limits<float>::infinity());
  for (size_t i = 0; st.position < s.tokens; i++) {
    CompressParams p{};
    p.p0 = st.position;
    p.row0 = st.position;
    p.n = std::min(chunks[i % chunks.size()], s.tokens - st.position);
    p.ratio = s.ratio;
    p.dim = s.dim;
    p.width = s.width;
    p.kv = s.kv.data();
    p.gate = s.gate.data();
    p.ape = s.ape.data();
    p.norm = s.norm.data();
    p.rmsNormEps = 1e-6f;
    p.ropeDim = s.ropeDim;
    p.cos = s.cos.data() + p.p0 / s.ratio * s.ropeDim / 2;
    p.sin = s.sin.data() + p.p0 / s.ratio * s.ropeDim / 2;
    p.entries = st.entries.data();
    p.partialKv = st.partialKv.data();
    p.partialGate = st.partialGate.data();
    p.overlapKv = st.overlapKv.data();
    p.overlapGate = st.overlapGate.data();
    runCompress(k, p, threads);
    st.position += p.n;
  }
  return st;
}

std::vector<double> expected(const Sequence& s) {
  std::vector<double> out;
  const bool overlaps = s.width == 2 * s.dim;
  for (int64_t w = 0; w < s.tokens / s.ratio; w++) {
    std::vector<double> e;
    for (int64_t c = 0; c < s.dim; c++) {
      std::vector<double> v, g;
      for (int64_t t = overlaps && w > 0 ? (w - 1) * s.ratio : w * s.ratio; t < (w + 1) * s.ratio; t++) {
        const int64_t channel = overlaps && t >= w * s.ratio ? s.dim + c : c;
        v.push_back(s.kv[static_cast<size_t>(t * s.width + channel)]);
        g.push_back(static_cast<double>(s.gate[static_cast<size_t>(t * s.width + channel)]) +
                    s.ape[static_cast<size_t>(t % s.ratio * s.width + channel)]);
      }
      double total = 0, sum = 0;
      for (size_t j = 0; j < v.size(); j++) {
        total += std::exp(g[j]);
        sum += std::exp(g[j]) * v[j];
      }
      e.push_back(sum / total);
    }
    double square = 0;
    for (double x : e) square += x * x;
    const double inverse = 1 / std::sqrt(square / static_cast<double>(s.dim) + 1e-6);
    for (int64_t c = 0; c < s.dim; c++) e[static_cast<size_t>(c)] *= inverse * s.norm[static_cast<size_t>(c)];
    for (int64_t i = 0; i < s.ropeDim / 2; i++) {
      double& even = e[static_cast<size_t>(s.dim - s.ropeDim + 2 * i)];
      double& odd = e[static_cast<size_t>(s.dim - s.ropeDim + 2 * i + 1)];
      const double co = s.cos[static_cast<size_t>(w * s.ropeDim / 2 + i)],
                   si = s.sin[static_cast<size_t>(w * s.ropeDim / 2 + i)];
      const double turned = even * co - odd * si;
      odd = odd * co + even * si;
      even = turned;
    }
    out.insert(out.end(), e.begin(), e.end());
  }
  return out;
}

struct Case {
  int64_t ratio, overlaps, dim, ropeDim, tokens;
};

void testCase(const KernelTable& k, const Case& c, uint64_t seed) {
  const Sequence s = makeSequence(c.ratio, c.overlaps != 0, c.dim, c.ropeDim, c.tokens, seed);
  const State once = run(k, s, {s.tokens}, 1);
  const auto want = expected(s);
  double worst = 0;
  for (size_t i = 0; i < want.size(); i++) {
    const double e = std::fabs(once.entries[i] - want[i]);
    worst = e <= worst ? worst : e;
  }
  std::printf("%s ratio %d dim %d: largest error %.3g\n", k.name, static_cast<int>(c.ratio), static_cast<int>(c.dim),
              worst);
  CHECK(worst < 5e-6);
  const std::vector<std::vector<int64_t>> chunkings = {{1}, {2, 1}, {3}, {4}, {5, 1, 9}, {127}, {129, 2}};
  for (const auto& chunks : chunkings) {
    const State parts = run(k, s, chunks, 1 + static_cast<int>(chunks.size()));
    CHECK(naive::sameBits(parts.entries, once.entries));
    CHECK(naive::sameBits(parts.overlapKv, once.overlapKv));
    CHECK(naive::sameBits(parts.overlapGate, once.overlapGate));
    for (int64_t i = 0; i < s.tokens % s.ratio * s.width; i++) {
      CHECK(parts.partialKv[static_cast<size_t>(i)] == once.partialKv[static_cast<size_t>(i)]);
      CHECK(parts.partialGate[static_cast<size_t>(i)] == once.partialGate[static_cast<size_t>(i)]);
    }
  }
}

}  // namespace

int main() {
  const Case cases[] = {{4, 1, 1, 0, 9},     {4, 1, 6, 4, 23},      {4, 1, 130, 64, 41},
                        {128, 0, 5, 2, 300}, {128, 0, 65, 64, 387}, {3, 0, 7, 2, 20}};
  for (const KernelTable* k : usableKernels()) {
    uint64_t seed = 10;
    for (const Case& c : cases) testCase(*k, c, seed++);
  }
  return megamoe::test::finish();
}
