// What bounds a product of one row with NVFP4 weights: steps from plain reads to the whole call, each as a fraction of
// the read ceiling measured before and after it. Weights lie and rotate as in `megamoe bench` (16 experts of 4096 x
// 4096, 151 MB, huge pages).
//
//   gemv_bench [ISA]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>

#include <megamoe/thread_pool.h>

#include "../ceilings/ceilings.h"
#include "../test/support.h"

using namespace megamoe;
using namespace megamoe::gemm;
using namespace megamoe::gemm::test;

namespace {

constexpr std::int64_t kExperts = 16, kN = 4096, kK = 4096;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// `once(expert)` for all experts in turn, against reads of as many bytes.
void show(const char* name, int threads, std::int64_t matrixBytes, const std::function<void(std::int64_t)>& once) {
  const std::int64_t bytes = kExperts * matrixBytes;
  std::vector<double> fractions, micros;
  for (int sample = -1; sample < 25; sample++) {
    const double before = ceilings::measure(ceilings::Kind::read, threads, bytes, std::int64_t{1} << 28);
    const double start = now();
    for (std::int64_t e = 0; e < kExperts; e++) once(e);
    const double seconds = now() - start;
    const double limit = (before + ceilings::measure(ceilings::Kind::read, threads, bytes, std::int64_t{1} << 28)) / 2;
    if (sample < 0) continue;
    fractions.push_back(static_cast<double>(bytes) / seconds / limit);
    micros.push_back(seconds / kExperts * 1e6);
  }
  std::printf("x%d %-46s %.3f   %6.1f us a call\n", threads, name, median(fractions), median(micros));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const KernelTable* table = &availableTables().front();
  for (const KernelTable& t : availableTables())
    if (argc > 1 && std::strcmp(t.isa, argv[1]) == 0) table = &t;
  const ceilings::Passes& passes = *ceilings::availablePasses().front();
  Random random(7);
  Weight w(Format::nvfp4, kExperts, kN, kK);
  const std::vector<std::uint8_t> c = random.bytes(kN * kK / 2), f = random.bytes(kN * kK / 16, 0x7e);
  putNvfp4(w, 0, 0, kN, c.data(), f.data(), 2);
  for (std::int64_t e = 1; e < kExperts; e++)
    std::memcpy(w.matrix(e), w.matrix(0), static_cast<std::size_t>(w.matrixBytes));
  const std::int64_t panelBytes = w.matrixBytes / w.panels();
  const std::vector<float> x = random.floats(kK), alpha(2 * kExperts, 0.5f), scales(kExperts, 1e-3f);
  std::vector<std::uint8_t> codes(kK / 2), sf(kK / 16);
  std::vector<float> out(kN);
  std::vector<std::vector<std::int32_t>> ends(kExperts, std::vector<std::int32_t>(kExperts));
  for (std::int64_t e = 0; e < kExperts; e++)
    for (std::int64_t i = e; i < kExperts; i++) ends[static_cast<std::size_t>(e)][static_cast<std::size_t>(i)] = 1;
  volatile std::uint64_t sink = 0;

  const auto stage = [&](std::int64_t e, int threads) {
    StageParams p{};
    p.x = x.data();
    p.k = kK;
    p.rows = 1;
    p.expertOffsets = ends[static_cast<std::size_t>(e)].data();
    p.experts = kExperts;
    p.globalDecodeScale = scales.data();
    p.codes = codes.data();
    p.sf = sf.data();
    table->stage(p, threads);
  };
  const auto fill = [&](GroupedParams& p, std::int64_t e) {
    p.w = &w;
    p.parts = 2;
    p.expertOffsets = ends[static_cast<std::size_t>(e)].data();
    p.alpha = alpha.data();
    p.out = out.data();
  };
  const auto w4a4 = [&](std::int64_t e, int threads) {
    GroupedW4A4Params p{};
    fill(p, e);
    p.aCodes = codes.data();
    p.aSf = sf.data();
    table->groupedW4A4(p, threads);
  };
  const auto w4a16 = [&](std::int64_t e, int threads) {
    GroupedW4A16Params p{};
    fill(p, e);
    p.a = x.data();
    table->groupedW4A16(p, threads);
  };
  stage(0, 1);

  for (const int threads : {1, 2}) {
    const auto reads = [&](std::int64_t e, std::int64_t ranges, int most) {  // a range of whole panels each
      parallelFor(ranges, most, [&](std::int64_t begin, std::int64_t end) {
        const std::int64_t first = w.panels() * begin / ranges, last = w.panels() * end / ranges;
        sink = sink + passes.read(w.panel(e, first), (last - first) * panelBytes);
      });
    };
    show("reads of all weights, one operation", threads, w.matrixBytes, [&](std::int64_t e) {
      if (e == 0)
        parallelFor(kExperts * 8, threads, [&](std::int64_t begin, std::int64_t end) {
          sink = sink + passes.read(w.matrix(0) + begin * (w.matrixBytes / 8), (end - begin) * (w.matrixBytes / 8));
        });
    });
    show("reads, an operation for each expert", threads, w.matrixBytes,
         [&](std::int64_t e) { reads(e, threads, threads); });
    show("reads, panel by panel", threads, w.matrixBytes, [&](std::int64_t e) {
      parallelFor(w.panels(), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; i++) sink = sink + passes.read(w.panel(e, i), panelBytes);
      });
    });
    show("w4a4, product alone", threads, w.matrixBytes, [&](std::int64_t e) { w4a4(e, threads); });
    show("w4a4, product alone, weights in cache", threads, w.matrixBytes, [&](std::int64_t) { w4a4(0, threads); });
    show("w4a4, stage and product", threads, w.matrixBytes, [&](std::int64_t e) {
      stage(e, threads);
      w4a4(e, threads);
    });
    show("w4a16", threads, w.matrixBytes, [&](std::int64_t e) { w4a16(e, threads); });
    show("w4a16, weights in cache", threads, w.matrixBytes, [&](std::int64_t) { w4a16(0, threads); });
  }
}
