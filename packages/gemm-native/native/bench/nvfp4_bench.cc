// Speed of the NVFP4 kernels as fractions of ceilings that are measured in between (ceilings.h): weights rotate through
// more memory than the last cache holds. For tuning; `megamoe bench` measures the same through the TypeScript
// interface.
//
//   nvfp4_bench [ISA] [FILTER]      e.g. nvfp4_bench avx512 w4a4
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>

#include "../ceilings/ceilings.h"
#include "../test/support.h"

using namespace megamoe;
using namespace megamoe::gemm;
using namespace megamoe::gemm::test;
using ceilings::Kind;

namespace {

constexpr std::int64_t kExperts = 64;
constexpr std::int64_t kSpan = std::int64_t{256} << 20;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// What one thread itself used: time in which others had the processor does not count.
double ownTime() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double quantile(std::vector<double> v, double q) {
  std::sort(v.begin(), v.end());
  return v[static_cast<std::size_t>(static_cast<double>(v.size() - 1) * q)];
}

struct Shape {
  std::int64_t n, k, parts;
};

struct Bench {
  const KernelTable* table;
  std::string filter;

  bool wants(const std::string& name) const { return name.find(filter) != std::string::npos; }

  // Alternates fn() with the ceiling and prints rate over ceiling. `work` is bytes or operations of one call.
  template <class F>
  void compare(const std::string& name, Kind kind, int threads, double work, F&& fn) const {
    if (!wants(name)) return;
    fn();
    double once = now();
    fn();
    once = now() - once;
    const int calls = std::max(1, static_cast<int>(0.002 / once));
    std::vector<double> rates, limits, fractions;
    const double began = now();
    for (int sample = 0; sample < 301 && (sample < 9 || now() - began < 2); sample++) {
      // Short, so that most samples see no change of who else is running.
      const std::int64_t amount =
          kind == Kind::read || kind == Kind::copy ? std::int64_t{32} << 20 : std::int64_t{1} << 29;
      const double before = ceilings::measure(kind, threads, amount, kSpan);
      double (*const clock)() = threads == 1 ? ownTime : now;
      const double start = clock();
      for (int i = 0; i < calls; i++) fn();
      const double rate = work * calls / (clock() - start);
      const double limit = (before + ceilings::measure(kind, threads, amount, kSpan)) / 2;
      rates.push_back(rate);
      limits.push_back(limit);
      fractions.push_back(rate / limit);
    }
    // On a machine that others use, the upper quartiles are the undisturbed samples.
    const double rate = quantile(rates, 0.75), limit = quantile(limits, 0.75);
    std::printf("%-40s x%d %8.1f of %6.1f G/s %9.1f us  fraction %.3f, median %.3f\n", name.c_str(), threads,
                rate / 1e9, limit / 1e9, work / rate * 1e6, rate / limit, quantile(fractions, 0.5));
    std::fflush(stdout);
  }
};

struct Products {
  Shape s;
  std::unique_ptr<Weight> w;
  std::vector<float> alpha, x, out, scales;
  std::vector<std::uint8_t> codes, sf;
  std::vector<std::int32_t> offsets, slots;
  std::int64_t most;

  Products(Shape shape, std::int64_t mostRows) : s(shape), most(mostRows) {
    Random random(7);
    w = std::make_unique<Weight>(Format::nvfp4, kExperts, s.n, s.k);
    const std::vector<std::uint8_t> c = random.bytes(s.n * s.k / 2), f = random.bytes(s.n * s.k / 16, 0x7e);
    putNvfp4(*w, 0, 0, s.n, c.data(), f.data(), 2);
    for (std::int64_t e = 1; e < kExperts; e++)
      std::memcpy(w->matrix(e), w->matrix(0), static_cast<std::size_t>(w->matrixBytes));
    alpha.assign(static_cast<std::size_t>(kExperts * s.parts), 0.5f);
    scales.assign(kExperts, 1e-3f);
    x = random.floats(most * s.k);
    codes = random.bytes(most * s.k / 2);
    sf = random.bytes(most * s.k / 16, 0x7e);
    out.resize(static_cast<std::size_t>(most * s.n));
    offsets.resize(kExperts);
  }

  // `m` rows for each of `count` experts from `first` on (round the end).
  void spread(std::int64_t first, std::int64_t count, std::int64_t m) {
    std::int32_t end = 0;
    for (std::int64_t e = 0; e < kExperts; e++) {
      if ((e + kExperts - first % kExperts) % kExperts < count) end += static_cast<std::int32_t>(m);
      offsets[static_cast<std::size_t>(e)] = end;
    }
  }

  void fill(GroupedParams& p) {
    p.w = w.get();
    p.parts = s.parts;
    p.expertOffsets = offsets.data();
    p.alpha = alpha.data();
    p.out = out.data();
  }

  void w4a4(const KernelTable& table, int threads) {
    GroupedW4A4Params p{};
    fill(p);
    p.aCodes = codes.data();
    p.aSf = sf.data();
    table.groupedW4A4(p, threads);
  }

  void w4a16(const KernelTable& table, int threads) {
    GroupedW4A16Params p{};
    fill(p);
    p.a = x.data();
    table.groupedW4A16(p, threads);
  }

  void bf16(const KernelTable& table, int threads) {
    GroupedBf16Params p{};
    fill(p);
    p.a = x.data();
    table.groupedBf16(p, threads);
  }

  void stage(const KernelTable& table, int threads) {
    StageParams p{};
    p.x = x.data();
    p.k = s.k;
    p.slotToken = slots.empty() ? nullptr : slots.data();
    p.rows = offsets.back();
    p.expertOffsets = offsets.data();
    p.experts = kExperts;
    p.globalDecodeScale = scales.data();
    p.codes = codes.data();
    p.sf = sf.data();
    table.stage(p, threads);
  }
};

void products(const Bench& b, Shape s, int threads) {
  Products q(s, 512);
  const std::string shape = " n=" + std::to_string(s.n) + " k=" + std::to_string(s.k);
  std::int64_t turn = 0;
  const double bytes = static_cast<double>(q.w->matrixBytes), ops = 2.0 * static_cast<double>(s.n * s.k);
  for (const int count : {1, 6}) {
    const std::string each = count == 1 ? " m=1" : " 6 experts, m=1";
    const auto step = [&](auto run) {
      return [&, run] {
        q.spread(turn += count, count, 1);
        run();
      };
    };
    b.compare("w4a4" + each + shape, Kind::read, threads, bytes * count, step([&] { q.w4a4(*b.table, threads); }));
    b.compare("w4a16" + each + shape, Kind::read, threads, bytes * count, step([&] { q.w4a16(*b.table, threads); }));
  }
  for (const std::int64_t m : {2, 4, 8, 16, 32, 64, 128, 512}) {
    const auto step = [&](auto run) {
      return [&, run] {
        q.spread(turn++, 1, m);
        run();
      };
    };
    const std::string each = " m=" + std::to_string(m);
    const auto staged = [&] {
      q.stage(*b.table, threads);
      q.w4a4(*b.table, threads);
    };
    b.compare("w4a4" + each + shape, Kind::vpdpbusd, threads, ops * static_cast<double>(m), step(staged));
    if (m == 8 || m == 64 || m == 512)
      b.compare("bf16" + each + shape, Kind::vdpbf16ps, threads, ops * static_cast<double>(m),
                step([&] { q.bf16(*b.table, threads); }));
    if (m == 8 || m == 64 || m == 512)
      b.compare("w4a16" + each + shape, Kind::vdpbf16ps, threads, ops * static_cast<double>(m),
                step([&] { q.w4a16(*b.table, threads); }));
  }
}

// 64 experts, top 6: staging with its gather, then the product.
void moe(const Bench& b, Shape s, int threads) {
  for (const std::int64_t tokens : {8, 64, 512}) {
    const std::string name =
        "w4a4 moe tokens=" + std::to_string(tokens) + " n=" + std::to_string(s.n) + " k=" + std::to_string(s.k);
    if (!b.wants(name)) continue;
    Products q(s, tokens * 6);
    Random random(3);
    std::vector<std::vector<std::int32_t>> tokensOf(kExperts);
    for (std::int32_t t = 0; t < tokens; t++)
      for (int j = 0; j < 6;) {
        auto& list = tokensOf[static_cast<std::size_t>(random.below(kExperts))];
        if (!list.empty() && list.back() == t) continue;
        list.push_back(t);
        j++;
      }
    for (std::size_t e = 0; e < kExperts; e++) {
      q.slots.insert(q.slots.end(), tokensOf[e].begin(), tokensOf[e].end());
      q.offsets[e] = static_cast<std::int32_t>(q.slots.size());
    }
    b.compare(name, Kind::vpdpbusd, threads, 12.0 * static_cast<double>(tokens * s.n * s.k), [&] {
      q.stage(*b.table, threads);
      q.w4a4(*b.table, threads);
    });
  }
}

void staging(const Bench& b, int threads) {
  const std::int64_t k = 4096, rows = 16384;  // 256 MiB
  if (!b.wants("stage")) return;
  std::vector<float> x = Random(5).floats(rows * k);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * k / 2)), sf(static_cast<std::size_t>(rows * k / 16));
  std::vector<float> rowScale(static_cast<std::size_t>(rows));
  const std::int32_t part = 2048, end = part;
  const float scale = 1e-3f;
  std::int64_t turn = 0;
  StageParams p{};
  p.k = k;
  p.rows = part;
  p.expertOffsets = &end;
  p.experts = 1;
  p.globalDecodeScale = &scale;
  const auto step = [&] {
    const std::int64_t row = turn++ % (rows / part) * part;
    p.x = x.data() + row * k;
    p.codes = codes.data() + row * k / 2;
    p.sf = sf.data() + row * k / 16;
    b.table->stage(p, threads);
  };
  const double bytes = 4.0 * static_cast<double>(part * k);
  b.compare("stage, cold", Kind::copy, threads, bytes, step);
  p.rowScale = rowScale.data();
  b.compare("stage, dynamic, cold", Kind::copy, threads, bytes, step);
}

}  // namespace

int main(int argc, char** argv) {
  Bench b{&availableTables().front(), argc > 2 ? argv[2] : ""};
  for (const KernelTable& table : availableTables())
    if (argc > 1 && std::strcmp(table.isa, argv[1]) == 0) b.table = &table;
  std::printf("%s\n", b.table->isa);
  for (const int threads : {1, 2}) {
    staging(b, threads);
    for (const Shape s : {Shape{2048, 4096, 1}, Shape{4096, 2048, 1}}) {
      products(b, s, threads);
      moe(b, s, threads);
    }
  }
}
