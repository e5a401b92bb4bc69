// Compression against double, and the same bits for every chunking, company and thread count, for overlapping and plain
// windows.
#include <megamoe/test.h>

#include <algorithm>
#include <cmath>

#include "../kernels/dispatch.h"
#include "naive.h"

using namespace megamoe::attention;

namespace {

struct Sequence {
  std::int64_t ratio, dim, width, ropeDim, tokens;
  std::vector<float> kv, gate, ape, norm, cos, sin;
};

Sequence makeSequence(std::int64_t ratio, bool overlaps, std::int64_t dim, std::int64_t ropeDim, std::int64_t tokens,
                      std::uint64_t seed) {
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

// Memory of several sequences: rows of each lie in reverse, after those of the sequences before it; what nothing may
// read is NaN.
struct Room {
  std::vector<float> openKv, openGate, entries;
  std::vector<std::int64_t> firstOpen, firstEntry;  // of each sequence

  explicit Room(const std::vector<Sequence>& all) {
    std::int64_t open = 0, entry = 0;
    for (const Sequence& s : all) {
      firstOpen.push_back(open);
      firstEntry.push_back(entry);
      open += s.tokens;
      entry += s.tokens / s.ratio;
    }
    openKv = naive::filled(open * all[0].width, std::nanf(""));
    openGate = openKv;
    entries = naive::filled(entry * all[0].dim, std::nanf(""));
  }

  static std::int64_t rowOf(std::int64_t first, std::int64_t count, std::int64_t i) { return first + count - 1 - i; }
};

// One call for the next tokens of some sequences; `done` are those that each has.
void step(const KernelTable& k, const std::vector<Sequence>& all, Room& room, std::vector<std::int64_t>& done,
          const std::vector<std::int64_t>& tokens, int threads) {
  const Sequence& shape = all[0];
  const std::int64_t perEntry = shape.width == 2 * shape.dim ? 2 * shape.ratio : shape.ratio;
  std::vector<float> kv, gate, cos, sin;
  std::vector<std::int32_t> apeRow, openRow, candidates, entryRow;
  for (std::size_t i = 0; i < all.size(); i++) {
    const Sequence& s = all[i];
    const auto openAt = [&](std::int64_t position) {
      return position < 0 ? -1 : static_cast<std::int32_t>(Room::rowOf(room.firstOpen[i], s.tokens, position));
    };
    for (std::int64_t position = done[i]; position < done[i] + tokens[i]; position++) {
      const auto row = position * s.width;
      kv.insert(kv.end(), s.kv.begin() + row, s.kv.begin() + row + s.width);
      gate.insert(gate.end(), s.gate.begin() + row, s.gate.begin() + row + s.width);
      apeRow.push_back(static_cast<std::int32_t>(position % s.ratio));
      openRow.push_back(openAt(position));
      if ((position + 1) % s.ratio != 0) continue;
      const std::int64_t w = position / s.ratio, half = s.ropeDim / 2;
      for (std::int64_t j = 0; j < perEntry; j++) candidates.push_back(openAt(position + 1 - perEntry + j));
      entryRow.push_back(static_cast<std::int32_t>(Room::rowOf(room.firstEntry[i], s.tokens / s.ratio, w)));
      cos.insert(cos.end(), s.cos.begin() + w * half, s.cos.begin() + (w + 1) * half);
      sin.insert(sin.end(), s.sin.begin() + w * half, s.sin.begin() + (w + 1) * half);
    }
    done[i] += tokens[i];
  }
  CompressParams p{};
  p.rows = static_cast<std::int64_t>(openRow.size());
  p.width = shape.width;
  p.kv = kv.data();
  p.gate = gate.data();
  p.ape = shape.ape.data();
  p.apeRow = apeRow.data();
  p.openRow = openRow.data();
  p.openKv = room.openKv.data();
  p.openGate = room.openGate.data();
  p.closed = static_cast<std::int64_t>(entryRow.size());
  p.candidatesPerEntry = perEntry;
  p.candidates = candidates.data();
  p.dim = shape.dim;
  p.ropeDim = shape.ropeDim;
  p.norm = shape.norm.data();
  p.rmsNormEps = 1e-6f;
  p.cos = cos.data();
  p.sin = sin.data();
  p.entryRow = entryRow.data();
  p.entries = room.entries.data();
  k.compress(p, threads);
}

// Entries of one sequence, in order.
std::vector<float> entriesOf(const Room& room, const std::vector<Sequence>& all, std::size_t i) {
  const Sequence& s = all[i];
  std::vector<float> out;
  for (std::int64_t w = 0; w < s.tokens / s.ratio; w++) {
    const auto at = room.entries.begin() + Room::rowOf(room.firstEntry[i], s.tokens / s.ratio, w) * s.dim;
    out.insert(out.end(), at, at + s.dim);
  }
  return out;
}

// All sequences, so many tokens of each at a time; those that are done wait for the others.
std::vector<std::vector<float>> run(const KernelTable& k, const std::vector<Sequence>& all,
                                    const std::vector<std::int64_t>& chunks, int threads) {
  Room room(all);
  std::vector<std::int64_t> done(all.size(), 0);
  for (std::size_t i = 0;; i++) {
    std::vector<std::int64_t> tokens;
    std::int64_t left = 0;
    for (std::size_t s = 0; s < all.size(); s++) {
      left += all[s].tokens - done[s];
      tokens.push_back(std::min(chunks[(i + s) % chunks.size()], all[s].tokens - done[s]));
    }
    if (left == 0) break;
    step(k, all, room, done, tokens, threads);
  }
  std::vector<std::vector<float>> out;
  for (std::size_t s = 0; s < all.size(); s++) out.push_back(entriesOf(room, all, s));
  return out;
}

std::vector<double> expected(const Sequence& s) {
  std::vector<double> out;
  const bool overlaps = s.width == 2 * s.dim;
  for (std::int64_t w = 0; w < s.tokens / s.ratio; w++) {
    std::vector<double> e;
    for (std::int64_t c = 0; c < s.dim; c++) {
      std::vector<double> v, g;
      for (std::int64_t t = overlaps && w > 0 ? (w - 1) * s.ratio : w * s.ratio; t < (w + 1) * s.ratio; t++) {
        const std::int64_t channel = overlaps && t >= w * s.ratio ? s.dim + c : c;
        v.push_back(s.kv[static_cast<std::size_t>(t * s.width + channel)]);
        g.push_back(static_cast<double>(s.gate[static_cast<std::size_t>(t * s.width + channel)]) +
                    s.ape[static_cast<std::size_t>(t % s.ratio * s.width + channel)]);
      }
      double total = 0, sum = 0;
      for (std::size_t j = 0; j < v.size(); j++) {
        total += std::exp(g[j]);
        sum += std::exp(g[j]) * v[j];
      }
      e.push_back(sum / total);
    }
    double square = 0;
    for (double x : e) square += x * x;
    const double inverse = 1 / std::sqrt(square / static_cast<double>(s.dim) + 1e-6);
    for (std::int64_t c = 0; c < s.dim; c++)
      e[static_cast<std::size_t>(c)] *= inverse * s.norm[static_cast<std::size_t>(c)];
    for (std::int64_t i = 0; i < s.ropeDim / 2; i++) {
      double& even = e[static_cast<std::size_t>(s.dim - s.ropeDim + 2 * i)];
      double& odd = e[static_cast<std::size_t>(s.dim - s.ropeDim + 2 * i + 1)];
      const double co = s.cos[static_cast<std::size_t>(w * s.ropeDim / 2 + i)],
                   si = s.sin[static_cast<std::size_t>(w * s.ropeDim / 2 + i)];
      const double turned = even * co - odd * si;
      odd = odd * co + even * si;
      even = turned;
    }
    out.insert(out.end(), e.begin(), e.end());
  }
  return out;
}

struct Case {
  std::int64_t ratio, overlaps, dim, ropeDim, tokens;
};

void testCase(const KernelTable& k, const Case& c, std::uint64_t seed) {
  std::vector<Sequence> all;  // of one layer
  for (std::int64_t i = 0; i < 3; i++) {
    all.push_back(makeSequence(c.ratio, c.overlaps != 0, c.dim, c.ropeDim, c.tokens + 7 * i,
                               seed + 100 * static_cast<std::uint64_t>(i)));
    all.back().ape = all[0].ape;
    all.back().norm = all[0].norm;
  }
  std::vector<std::vector<float>> alone;
  for (const Sequence& s : all) alone.push_back(run(k, {s}, {s.tokens}, 1)[0]);
  double worst = 0;
  for (std::size_t s = 0; s < all.size(); s++) {
    const auto want = expected(all[s]);
    CHECK(alone[s].size() == want.size());
    for (std::size_t i = 0; i < want.size(); i++) {
      const double e = std::fabs(alone[s][i] - want[i]);
      worst = e <= worst ? worst : e;
    }
  }
  std::printf("%s ratio %d dim %d: largest error %.3g\n", k.isa, static_cast<int>(c.ratio), static_cast<int>(c.dim),
              worst);
  CHECK(worst < 5e-6);
  const std::vector<std::vector<std::int64_t>> chunkings = {{1},       {2, 1}, {3},      {4},
                                                            {5, 1, 9}, {127},  {129, 2}, {0, 8, 3}};
  for (const auto& chunks : chunkings) {
    const auto parts = run(k, all, chunks, 1 + static_cast<int>(chunks.size()));
    for (std::size_t s = 0; s < all.size(); s++) CHECK(naive::sameBits(parts[s], alone[s]));
  }
}

}  // namespace

int main() {
  const Case cases[] = {{4, 1, 1, 0, 9},     {4, 1, 6, 4, 23},      {4, 1, 130, 64, 41},
                        {128, 0, 5, 2, 300}, {128, 0, 65, 64, 387}, {3, 0, 7, 2, 20}};
  for (const KernelTable& k : availableTables()) {
    std::uint64_t seed = 10;
    for (const Case& c : cases) testCase(k, c, seed++);
  }
  return megamoe::test::finish();
}
