// Speed of the dense kernels as fractions of ceilings that are measured in between (ceilings.h). BF16 weights rotate
// through more memory than the last cache holds. For tuning; `megamoe bench` measures the same through the TypeScript
// interface.
//
//   dense_bench [ISA] [THREADS] [bf16 or fp8] [bf16 activations: 1]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "../ceilings/ceilings.h"
#include "../test/support.h"

using namespace megamoe;
using namespace megamoe::gemm;
using ceilings::Kind;

namespace {

constexpr std::int64_t kSpan = std::int64_t{256} << 20;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double upperQuartile(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() * 3 / 4];
}

// Alternates fn() with the ceiling; on a machine that others use, the upper quartiles are the undisturbed samples.
template <class F>
void compare(const std::string& name, Kind kind, int threads, double work, F&& fn) {
  fn();
  std::vector<double> rates, limits;
  for (const double began = now(); rates.size() < 9 || now() - began < 1;) {
    limits.push_back(
        ceilings::measure(kind, threads, kind == Kind::fma ? std::int64_t{1} << 29 : std::int64_t{32} << 20, kSpan));
    const double start = now();
    fn();
    rates.push_back(work / (now() - start));
  }
  const double rate = upperQuartile(rates), limit = upperQuartile(limits);
  std::printf("%-36s x%d %8.2f of %7.2f G/s  fraction %.2f\n", name.c_str(), threads, rate / 1e9, limit / 1e9,
              rate / limit);
  std::fflush(stdout);
}

void linear(const KernelTable& table, int threads, Format format, bool bf16, std::int64_t n, std::int64_t k) {
  const auto product = [&](const LinearParams& p, int count) {
    if (bf16)
      table.linearBf16({p}, count);
    else
      table.linear(p, count);
  };
  const bool isFp8 = format == Format::fp8;
  const std::int64_t copies = kSpan / Weight::bytesOfMatrix(format, n, k) + 1, most = 512;
  std::vector<std::unique_ptr<Weight>> weights;
  gemm::test::Random random(1);
  std::vector<std::uint16_t> row(static_cast<std::size_t>(k));
  for (auto& v : row) v = encodeBf16(random.uniform());
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(k));
  for (auto& v : codes) v = encodeE4m3(448 * random.uniform());
  const std::vector<float> scales(static_cast<std::size_t>((k + kFp8Tile - 1) / kFp8Tile), 0.01f);
  for (std::int64_t i = 0; i < copies; i++) {
    weights.push_back(std::make_unique<Weight>(format, 1, n, k));
    for (std::int64_t r = 0; r < n; r++) {
      if (isFp8)
        putFp8(*weights.back(), 0, r, 1, codes.data(), scales.data(), 1);
      else
        putDense(*weights.back(), 0, r, 1, row.data());
    }
  }
  const std::vector<float> x = random.floats(most * k);
  std::vector<float> out(static_cast<std::size_t>(most * n));
  std::size_t next = 0;
  // For a second after they are filled, weights are read at a third of the speed (huge pages are being made).
  for (int i = 0; i < 1000; i++) product({weights[next++ % weights.size()].get(), x.data(), 1, out.data()}, threads);
  for (const std::int64_t m : {1, 2, 4, 8, 64, 512}) {
    // Up to four rows the weights' bytes are the limit, above the multiply-adds.
    const double bytes = (isFp8 ? 1. : 2.) * static_cast<double>(n * k),
                 operations = 2. * static_cast<double>(m * n * k);
    const Kind kind = m <= 4 ? Kind::read : bf16 ? Kind::vdpbf16ps : Kind::fma;
    const std::string name = std::string(table.isa) + " linear " + (isFp8 ? "fp8" : "bf16") + (bf16 ? " x bf16" : "");
    const auto run = [&] { product({weights[next++ % weights.size()].get(), x.data(), m, out.data()}, threads); };
    compare(name + " m=" + std::to_string(m), kind, threads, m <= 4 ? bytes : operations, run);
  }
}

void hyper(const KernelTable& table, int threads, std::int64_t t) {
  constexpr std::int64_t kHc = 4, kD = 4096, kMixes = 24;
  gemm::test::Random random(2);
  std::vector<std::vector<float>> fns;
  for (int i = 0; i < 64; i++) fns.push_back(random.floats(kMixes * kHc * kD));
  const std::vector<float> streams = random.floats(t * kHc * kD), base = random.floats(kMixes),
                           scale = random.floats(3);
  std::vector<float> post(static_cast<std::size_t>(t * kHc)), comb(static_cast<std::size_t>(t * kHc * kHc)),
      collapsed(static_cast<std::size_t>(t * kD));
  std::size_t next = 0;
  HcPreParams p{};
  p.streams = streams.data(), p.t = t, p.hc = kHc, p.d = kD, p.base = base.data(), p.scale = scale.data();
  p.rmsNormEps = p.hcEps = 1e-6, p.iters = 20;
  p.post = post.data(), p.comb = comb.data(), p.collapsed = collapsed.data();
  const double bytes = kMixes * kHc * kD * 4;
  compare(std::string(table.isa) + " hcPre t=" + std::to_string(t), Kind::read, threads, bytes, [&] {
    p.fn = fns[next++ % fns.size()].data();
    table.hcPre(p, threads);
  });
}

void scans(const KernelTable& table) {
  constexpr std::int64_t kVocab = 129280;
  gemm::test::Random random(3);
  std::vector<std::vector<float>> logits;
  for (int i = 0; i < 256; i++) logits.push_back(random.floats(kVocab));
  std::vector<std::int32_t> ids(4096);
  std::vector<float> values(4096);
  std::size_t next = 0;
  const double bytes = kVocab * 4;
  compare(std::string(table.isa) + " argmax", Kind::max, 1, bytes,
          [&] { table.scan.argmax(logits[next++ * 37 % logits.size()].data(), kVocab); });
  compare(std::string(table.isa) + " top 50", Kind::max, 1, bytes, [&] {
    table.scan.top(logits[next++ * 37 % logits.size()].data(), kVocab, 50, 0.7f, 4096, ids.data(), values.data());
  });
}

}  // namespace

int main(int argc, char** argv) {
  const std::string isa = argc > 1 ? argv[1] : "";
  const int threads = argc > 2 ? std::atoi(argv[2]) : 1;
  const std::string only = argc > 3 ? argv[3] : "";
  for (const KernelTable& table : availableTables()) {
    if (!isa.empty() && isa != table.isa) continue;
    for (const Format format : {Format::bf16, Format::fp8})
      if (only.empty() || only == (format == Format::fp8 ? "fp8" : "bf16"))
        linear(table, threads, format, argc > 4, 4096, 4096);
    if (!only.empty()) continue;
    hyper(table, threads, 1);
    scans(table);
  }
}
