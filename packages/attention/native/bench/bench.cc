// Kernel times beside what the machine allows in the same moments: every repetition runs ceiling, kernel, ceiling,
// kernel, ..., and medians are compared. Usage: attention_bench [ISA or all] [threads] [part of name and shape]. Shapes
// are DeepSeek-V4-Flash's.
#include <megamoe/thread_pool.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "../kernels/dispatch.h"
#include "../test/naive.h"
#include "ceilings.h"

using namespace megamoe::attention;

namespace {

constexpr int kRepeats = 31;

double secondsOf(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<long>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

struct Machine {
  const KernelTable& kernels;
  int threads;
  const std::string only;
  std::vector<float> cold;  // more than the last-level cache
  volatile float sink = 0;

  // Flops a second, measured for about as long as the kernel takes: on a busy machine long runs are interrupted more
  // often.
  double fmaRate(double seconds) {
    const double guess = std::strcmp(kernels.isa, "generic") == 0 ? 7e9 : 1e11;
    const std::int64_t rounds = 1 + static_cast<std::int64_t>(guess * seconds / bench::flopsPerRound(kernels.isa));
    const double s = secondsOf([&] {
      megamoe::parallelFor(threads, threads, [&](std::int64_t, std::int64_t) {
        sink = sink + static_cast<float>(bench::spinFma(kernels.isa, rounds));
      });
    });
    return threads * bench::flopsPerRound(kernels.isa) * static_cast<double>(rounds) / s;
  }

  // Bytes a second over the cold buffer.
  double readRate() {
    const std::int64_t lines = static_cast<std::int64_t>(cold.size()) / 64;
    const double s = secondsOf([&] {
      megamoe::parallelFor(lines, threads, [&](std::int64_t a, std::int64_t b) {
        sink = sink + bench::readAll(&cold[static_cast<std::size_t>(a * 64)], (b - a) * 64);
      });
    });
    return static_cast<double>(cold.size()) * sizeof(float) / s;
  }

  // The kernel's floor is the larger of flops at the peak and bytes at the read bandwidth; 0 flops or bytes: no such
  // floor.
  void report(const char* name, const char* shape, double flops, double bytes, const std::function<void()>& run) {
    if (!only.empty() && (std::string(name) + " " + shape).find(only) == std::string::npos) return;
    run();
    const double once = secondsOf(run);
    std::vector<double> times, peaks, reads;
    for (int i = 0; i < kRepeats; i++) {
      if (flops > 0) peaks.push_back(fmaRate(once));
      if (bytes > 0 && i % 5 == 0) reads.push_back(readRate());
      times.push_back(secondsOf(run));
    }
    const double time = median(times);
    const double arithmetic = flops > 0 ? flops / median(peaks) : 0, memory = bytes > 0 ? bytes / median(reads) : 0;
    std::printf("%-8s %-26s %-8s %d thr %9.1f us", name, shape, kernels.isa, threads, time * 1e6);
    if (flops > 0) std::printf("  %6.1f of %6.1f GFLOP/s", flops / time * 1e-9, median(peaks) * 1e-9);
    if (bytes > 0) std::printf("  %5.1f of %5.1f GB/s", bytes / time * 1e-9, median(reads) * 1e-9);
    std::printf("  floor/time %.3f\n", std::max(arithmetic, memory) / time);
  }
};

// Queries of an attend: rows of each of some sequences, and their keys. `layers` memories in turn: with many the keys
// are cold, as those of a layer are when a step comes to it.
struct Queries {
  std::int64_t sequences, rows, window, entries, heads, layers;
};

void benchAttend(Machine& m, const char* shape, const Queries& c) {
  const std::int64_t d = 512, near = c.window + c.rows - 1, stored = 2 * c.entries, rows = c.sequences * c.rows;
  naive::Random random{1};
  const auto window = random.floats(c.layers * c.sequences * near * d),
             compressed = random.floats(c.layers * c.sequences * stored * d),
             q = random.floats(rows * c.heads * d, 2.0), sinks = random.floats(c.heads);
  std::vector<float> out(static_cast<std::size_t>(rows * c.heads * d));
  std::vector<std::int32_t> nearIndex, nearStart,
      nearCount(static_cast<std::size_t>(rows), static_cast<std::int32_t>(c.window));
  std::vector<std::int32_t> farIndex, farStart,
      farCount(static_cast<std::size_t>(rows), static_cast<std::int32_t>(c.entries));
  for (std::int64_t s = 0; s < c.sequences; s++) {
    for (std::int64_t j = 0; j < near; j++) nearIndex.push_back(static_cast<std::int32_t>(s * near + j));
    for (std::int64_t r = 0; r < c.rows; r++) {
      nearStart.push_back(static_cast<std::int32_t>(s * near + r));
      farStart.push_back(static_cast<std::int32_t>(farIndex.size()));
      for (std::int64_t j = 0; j < c.entries; j++)
        farIndex.push_back(
            static_cast<std::int32_t>(s * stored + 2 * j + static_cast<std::int64_t>(random.bits() % 2)));
    }
  }
  AttendParams p{};
  p.rows = rows;
  p.heads = c.heads;
  p.d = d;
  p.q = q.data();
  p.near = {nearIndex.data(), nearStart.data(), nearCount.data()};
  p.far = {farIndex.data(), farStart.data(), farCount.data()};
  p.sinks = sinks.data();
  p.softmaxScale = static_cast<float>(1 / std::sqrt(static_cast<double>(d)));
  p.out = out.data();
  const std::int64_t keys = rows * (c.window + c.entries);
  const double flops = 4.0 * static_cast<double>(keys * c.heads * d);
  const double bytes = c.rows == 1 ? 4.0 * static_cast<double>(keys * d) : 0;  // each key row once
  std::int64_t layer = 0;
  m.report("attend", shape, flops, bytes, [&] {
    p.window = window.data() + layer * c.sequences * near * d;
    p.entries = compressed.data() + layer * c.sequences * stored * d;
    layer = (layer + 1) % c.layers;
    m.kernels.attend(p, m.threads);
  });
}

void benchIndex(Machine& m, const char* shape, std::int64_t sequences, std::int64_t rows, std::int64_t entries) {
  const std::int64_t heads = 64, dim = 128, topk = 512, pageRows = 64, n = sequences * rows, pages = entries / pageRows;
  naive::Random random{2};
  const auto keys = random.floats(sequences * entries * dim), q = random.floats(n * heads * dim),
             weights = random.floats(n * heads);
  std::vector<std::int32_t> selected(static_cast<std::size_t>(n * topk)), pageBase, pageIds;
  const std::vector<std::int32_t> visible(static_cast<std::size_t>(n), static_cast<std::int32_t>(entries));
  for (std::int64_t i = 0; i < sequences * pages; i++) pageIds.push_back(static_cast<std::int32_t>(i));
  for (std::size_t i = pageIds.size(); i > 1; i--) std::swap(pageIds[i - 1], pageIds[random.bits() % i]);
  for (std::int64_t r = 0; r < n; r++) pageBase.push_back(static_cast<std::int32_t>(r / rows * pages));
  IndexSelectParams p{};
  p.rows = n;
  p.heads = heads;
  p.dim = dim;
  p.topk = topk;
  p.q = q.data();
  p.headWeights = weights.data();
  p.visible = visible.data();
  p.pageBase = pageBase.data();
  p.pageIds = pageIds.data();
  p.pageRows = pageRows;
  p.entries = keys.data();
  p.selected = selected.data();
  const double flops = 2.0 * static_cast<double>(n * entries * heads * dim);
  const double bytes = rows == 1 ? 4.0 * static_cast<double>(sequences * entries * dim) : 0;
  m.report("index", shape, flops, bytes, [&] { m.kernels.indexSelect(p, m.threads); });
}

void benchCompress(Machine& m, const char* shape, std::int64_t ratio, std::int64_t dim, std::int64_t n) {
  const bool overlaps = ratio == 4;
  const std::int64_t width = overlaps ? 2 * dim : dim, ropeDim = 64, closed = n / ratio,
                     perEntry = overlaps ? 8 : ratio;
  naive::Random random{3};
  const auto kv = random.floats(n * width), gate = random.floats(n * width), ape = random.floats(ratio * width),
             norm = random.floats(dim), cos = random.floats(closed * ropeDim / 2),
             sin = random.floats(closed * ropeDim / 2);
  auto openKv = naive::filled(n * width, 0.0f), openGate = openKv, entries = naive::filled(closed * dim, 0.0f);
  std::vector<std::int32_t> apeRow, openRow, candidates, entryRow;
  for (std::int64_t position = 0; position < n; position++) {
    apeRow.push_back(static_cast<std::int32_t>(position % ratio));
    openRow.push_back(static_cast<std::int32_t>(position));
    if ((position + 1) % ratio != 0) continue;
    for (std::int64_t j = perEntry - 1; j >= 0; j--)
      candidates.push_back(static_cast<std::int32_t>(std::max<std::int64_t>(-1, position - j)));
    entryRow.push_back(static_cast<std::int32_t>(position / ratio));
  }
  CompressParams p{};
  p.rows = n;
  p.width = width;
  p.kv = kv.data();
  p.gate = gate.data();
  p.ape = ape.data();
  p.apeRow = apeRow.data();
  p.openRow = openRow.data();
  p.openKv = openKv.data();
  p.openGate = openGate.data();
  p.closed = closed;
  p.candidatesPerEntry = perEntry;
  p.candidates = candidates.data();
  p.dim = dim;
  p.ropeDim = ropeDim;
  p.norm = norm.data();
  p.rmsNormEps = 1e-6f;
  p.cos = cos.data();
  p.sin = sin.data();
  p.entryRow = entryRow.data();
  p.entries = entries.data();
  const double bytes = 16.0 * static_cast<double>(n * width);  // read and written
  m.report("compress", shape, 0, bytes, [&] { m.kernels.compress(p, m.threads); });
}

void benchRope(Machine& m, const char* shape, std::int64_t rows) {
  const std::int64_t heads = 64, d = 512, ropeDim = 64;
  naive::Random random{4};
  auto x = random.floats(rows * heads * d);
  const auto cos = random.floats(rows * ropeDim / 2), sin = random.floats(rows * ropeDim / 2);
  const RopeParams p{rows, heads, d, ropeDim, x.data(), cos.data(), sin.data(), false};
  m.report("rope", shape, 0, 8.0 * static_cast<double>(rows * heads * ropeDim), [&] { m.kernels.rope(p, m.threads); });
}

// The cost of a call beside its work, and the time until every range has started when each waits for the others: what
// it takes to have all threads at work, `pause` after the last call.
void benchWake(int threads) {
  for (int pause : {0, 3, 8, 30, 1000}) {
    std::vector<double> empty, meet;
    const auto wait = [&] {
      const auto start = std::chrono::steady_clock::now();
      while (std::chrono::steady_clock::now() - start < std::chrono::microseconds(pause)) {
      }
    };
    for (int i = 0; i < 301; i++) {
      wait();
      empty.push_back(secondsOf([&] { megamoe::parallelFor(threads, threads, [](std::int64_t, std::int64_t) {}); }));
    }
    for (int i = 0; i < 301; i++) {
      wait();
      std::atomic<int> started{0};
      meet.push_back(secondsOf([&] {
        megamoe::parallelFor(threads, threads, [&](std::int64_t, std::int64_t) {
          started++;
          while (started < threads) std::this_thread::yield();
        });
      }));
    }
    std::printf("pool     %4d us after the last call, %d threads: empty call %.2f us, all at work %.2f us\n", pause,
                threads, median(empty) * 1e6, median(meet) * 1e6);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string isa = argc > 1 ? argv[1] : "all";
  const int threads = argc > 2 ? std::atoi(argv[2]) : 1;
  const std::string only = argc > 3 ? argv[3] : "";
  if (threads > 1 && (only.empty() || only == "pool")) benchWake(threads);
  for (const KernelTable& table : availableTables()) {
    if (isa != "all" && isa != table.isa) continue;
    Machine m{table, threads, only, std::vector<float>(std::size_t{1} << 26, 1.0f)};
    benchAttend(m, "decode 128+512 keys", {1, 1, 128, 512, 64, 1});
    benchAttend(m, "decode 128+512 cold keys", {1, 1, 128, 512, 64, 32});
    benchAttend(m, "decode 128 keys", {1, 1, 128, 0, 64, 1});
    benchAttend(m, "decode 640 keys, 8 heads", {1, 1, 128, 512, 8, 1});
    benchAttend(m, "decode 64 x 128+512 keys", {64, 1, 128, 512, 64, 1});
    benchAttend(m, "prefill 8 x 128+512 keys", {1, 8, 128, 512, 64, 1});
    benchIndex(m, "decode 4096 entries", 1, 1, 4096);
    benchIndex(m, "decode 64 x 4096", 64, 1, 4096);
    benchIndex(m, "prefill 8 x 4096", 1, 8, 4096);
    benchCompress(m, "CSA 2048 tokens", 4, 512, 2048);
    benchCompress(m, "HCA 2048 tokens", 128, 512, 2048);
    benchRope(m, "decode", 1);
    benchRope(m, "512 tokens", 512);
  }
  return 0;
}
