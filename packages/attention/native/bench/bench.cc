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

#include "../dispatch.h"
#include "../ops.h"
#include "../test/naive.h"
#include "ceilings.h"

using namespace attention;

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
    const double guess = std::strcmp(kernels.name, "generic") == 0 ? 7e9 : 1e11;
    const int64_t rounds = 1 + static_cast<int64_t>(guess * seconds / bench::flopsPerRound(kernels.name));
    const double s = secondsOf([&] {
      megamoe::parallelFor(threads, threads, [&](int64_t, int64_t) {
        sink = sink + static_cast<float>(bench::spinFma(kernels.name, rounds));
      });
    });
    return threads * bench::flopsPerRound(kernels.name) * static_cast<double>(rounds) / s;
  }

  // Bytes a second over the cold buffer.
  double readRate() {
    const int64_t lines = static_cast<int64_t>(cold.size()) / 64;
    const double s = secondsOf([&] {
      megamoe::parallelFor(lines, threads, [&](int64_t a, int64_t b) {
        sink = sink + bench::readAll(&cold[static_cast<size_t>(a * 64)], (b - a) * 64);
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
    std::printf("%-8s %-26s %-8s %d thr %9.1f us", name, shape, kernels.name, threads, time * 1e6);
    if (flops > 0) std::printf("  %6.1f of %6.1f GFLOP/s", flops / time * 1e-9, median(peaks) * 1e-9);
    if (bytes > 0) std::printf("  %5.1f of %5.1f GB/s", bytes / time * 1e-9, median(reads) * 1e-9);
    std::printf("  floor/time %.3f\n", std::max(arithmetic, memory) / time);
  }
};

// `layers` states in turn: with many the keys are cold, as those of a layer are when a step comes to it.
void benchAttend(Machine& m, const char* shape, int64_t n, int64_t window, int64_t entries, int64_t heads,
                 int64_t layers = 1) {
  const int64_t d = 512, ringCap = window + n - 1, keyCap = window + entries, stored = 2 * entries;
  naive::Random random{1};
  const auto ring = random.floats(layers * ringCap * d), compressed = random.floats(layers * stored * d),
             q = random.floats(n * heads * d, 2.0);
  const auto sinks = random.floats(heads);
  std::vector<float> out(static_cast<size_t>(n * heads * d));
  std::vector<int32_t> keyIndex, keyCount;
  for (int64_t r = 0; r < n; r++) {
    keyCount.push_back(static_cast<int32_t>(keyCap));
    for (int64_t j = 0; j < window; j++) keyIndex.push_back(static_cast<int32_t>(r + j));
    for (int64_t j = 0; j < entries; j++)
      keyIndex.push_back(static_cast<int32_t>(ringCap + 2 * j + static_cast<int64_t>(random.bits() % 2)));
  }
  AttendParams p{};
  p.n = n;
  p.heads = heads;
  p.d = d;
  p.ringCap = ringCap;
  p.keyCap = keyCap;
  p.q = q.data();
  p.keyIndex = keyIndex.data();
  p.keyCount = keyCount.data();
  p.sinks = sinks.data();
  p.softmaxScale = static_cast<float>(1 / std::sqrt(static_cast<double>(d)));
  p.out = out.data();
  const double flops = 4.0 * static_cast<double>(n * keyCap * heads * d);
  const double bytes = n == 1 ? 4.0 * static_cast<double>(keyCap * d) : 0;  // each key row once
  int64_t layer = 0;
  m.report("attend", shape, flops, bytes, [&] {
    p.ring = ring.data() + layer * ringCap * d;
    p.entries = compressed.data() + layer * stored * d;
    layer = (layer + 1) % layers;
    runAttend(m.kernels, p, m.threads);
  });
}

void benchIndex(Machine& m, const char* shape, int64_t n, int64_t entries) {
  const int64_t heads = 64, dim = 128, topk = 512, ratio = 4;
  naive::Random random{2};
  const auto keys = random.floats(entries * dim), q = random.floats(n * heads * dim),
             weights = random.floats(n * heads);
  std::vector<int32_t> selected(static_cast<size_t>(n * topk));
  IndexSelectParams p{};
  p.n = n;
  p.p0 = entries * ratio - n;
  p.ratio = ratio;
  p.dim = dim;
  p.heads = heads;
  p.topk = topk;
  p.entries = keys.data();
  p.q = q.data();
  p.headWeights = weights.data();
  p.selected = selected.data();
  const double flops = 2.0 * static_cast<double>(n * entries * heads * dim);
  const double bytes = n == 1 ? 4.0 * static_cast<double>(entries * dim) : 0;
  m.report("index", shape, flops, bytes, [&] { runIndexSelect(m.kernels, p, m.threads); });
}

void benchCompress(Machine& m, const char* shape, int64_t ratio, int64_t dim, int64_t n) {
  const int64_t width = ratio == 4 ? 2 * dim : dim, ropeDim = 64, closed = n / ratio;
  naive::Random random{3};
  const auto kv = random.floats(n * width), gate = random.floats(n * width), ape = random.floats(ratio * width),
             norm = random.floats(dim);
  const auto cos = random.floats(closed * ropeDim / 2), sin = random.floats(closed * ropeDim / 2);
  auto entries = naive::filled(closed * dim, 0.0f), partialKv = naive::filled(ratio * width, 0.0f),
       partialGate = partialKv;
  auto overlapKv = naive::filled(ratio * dim, 0.0f), overlapGate = overlapKv;
  CompressParams p{};
  p.n = n;
  p.ratio = ratio;
  p.dim = dim;
  p.width = width;
  p.kv = kv.data();
  p.gate = gate.data();
  p.ape = ape.data();
  p.norm = norm.data();
  p.rmsNormEps = 1e-6f;
  p.ropeDim = ropeDim;
  p.cos = cos.data();
  p.sin = sin.data();
  p.entries = entries.data();
  p.partialKv = partialKv.data();
  p.partialGate = partialGate.data();
  p.overlapKv = overlapKv.data();
  p.overlapGate = overlapGate.data();
  m.report("compress", shape, 0, 8.0 * static_cast<double>(n * width), [&] { runCompress(m.kernels, p, m.threads); });
}

void benchRope(Machine& m, const char* shape, int64_t rows) {
  const int64_t heads = 64, d = 512, ropeDim = 64;
  naive::Random random{4};
  auto x = random.floats(rows * heads * d);
  const auto cos = random.floats(rows * ropeDim / 2), sin = random.floats(rows * ropeDim / 2);
  const RopeParams p{rows, heads, d, ropeDim, x.data(), cos.data(), sin.data(), false};
  m.report("rope", shape, 0, 8.0 * static_cast<double>(rows * heads * ropeDim),
           [&] { runRope(m.kernels, p, m.threads); });
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
      empty.push_back(secondsOf([&] { megamoe::parallelFor(threads, threads, [](int64_t, int64_t) {}); }));
    }
    for (int i = 0; i < 301; i++) {
      wait();
      std::atomic<int> started{0};
      meet.push_back(secondsOf([&] {
        megamoe::parallelFor(threads, threads, [&](int64_t, int64_t) {
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
  for (const KernelTable* table : usableKernels()) {
    if (isa != "all" && isa != table->name) continue;
    Machine m{*table, threads, only, std::vector<float>(size_t{1} << 26, 1.0f)};
    benchAttend(m, "decode 128+512 keys", 1, 128, 512, 64);
    benchAttend(m, "decode 128+512 cold keys", 1, 128, 512, 64, 32);
    benchAttend(m, "decode 128 keys", 1, 128, 0, 64);
    benchAttend(m, "decode 640 keys, 8 heads", 1, 128, 512, 8);
    benchAttend(m, "prefill 8 x 128+512 keys", 8, 128, 512, 64);
    benchIndex(m, "decode 4096 entries", 1, 4096);
    benchIndex(m, "prefill 8 x 4096", 8, 4096);
    benchCompress(m, "CSA 2048 tokens", 4, 512, 2048);
    benchCompress(m, "HCA 2048 tokens", 128, 512, 2048);
    benchRope(m, "decode", 1);
    benchRope(m, "512 tokens", 512);
  }
  return 0;
}
