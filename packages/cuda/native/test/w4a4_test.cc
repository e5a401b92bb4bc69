// W4A4: every kernel against the contract word by word (docs/numerics.md N4), in plain C++ and by the CPU's own generic
// kernel.
#include <megamoe/codecs.h>

#include <cmath>
#include <cstdlib>
#include <numeric>

#include "../../../gemm-native/native/kernels/dispatch.h"
#include "../kernels/packed.h"
#include "../kernels/w4a4.h"
#include "support.h"

using namespace megamoe;
using namespace megamoe::cuda;
using namespace megamoe::cuda::test;

namespace {

struct Case {
  std::int64_t n, k, parts;
  std::vector<int> counts;
  bool hasRowScale;
};

// The product by its definition.
std::vector<float> byDefinition(const Case& c, const std::vector<std::uint8_t>& w, const std::vector<std::uint8_t>& ws,
                                const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& as,
                                const std::vector<float>& alpha, const std::vector<float>& rowScale) {
  std::vector<float> out;
  std::int64_t row = 0;
  for (std::size_t e = 0; e < c.counts.size(); e++)
    for (int i = 0; i < c.counts[e]; i++, row++)
      for (std::int64_t n = 0; n < c.n; n++) {
        const std::int64_t column = static_cast<std::int64_t>(e) * c.n + n;
        float acc = 0.f;
        for (std::int64_t b = 0; b < c.k / 16; b++) {
          int dot = 0;
          for (int j = 0; j < 8; j++) {
            const unsigned x = a[row * c.k / 2 + b * 8 + j], y = w[column * c.k / 2 + b * 8 + j];
            dot += kE2m1Doubled[x & 15] * kE2m1Doubled[y & 15] + kE2m1Doubled[x >> 4] * kE2m1Doubled[y >> 4];
          }
          const float scales = decodeE4m3(as[row * c.k / 16 + b]) * decodeE4m3(ws[column * c.k / 16 + b]);
          acc = acc + static_cast<float>(dot) * .25f * scales;
        }
        float v = alpha[e * c.parts + n * c.parts / c.n] * acc;
        if (c.hasRowScale) v = v * rowScale[row];
        out.push_back(v);
      }
  return out;
}

// The true product, and what each sum adds on its way: itself before every block, and the magnitudes of the block's
// products. Both with alpha and the row's scale.
struct Sums {
  std::vector<double> exact, size;
};
Sums exactSums(const Case& c, const std::vector<std::uint8_t>& w, const std::vector<std::uint8_t>& ws,
               const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& as, const std::vector<float>& alpha,
               const std::vector<float>& rowScale) {
  Sums out;
  std::int64_t row = 0;
  for (std::size_t e = 0; e < c.counts.size(); e++)
    for (int i = 0; i < c.counts[e]; i++, row++)
      for (std::int64_t n = 0; n < c.n; n++) {
        const std::int64_t column = static_cast<std::int64_t>(e) * c.n + n;
        double sum = 0, size = 0;
        for (std::int64_t b = 0; b < c.k / 16; b++) {
          int dot = 0, magnitudes = 0;
          for (int j = 0; j < 8; j++) {
            const unsigned x = a[row * c.k / 2 + b * 8 + j], y = w[column * c.k / 2 + b * 8 + j];
            const int low = kE2m1Doubled[x & 15] * kE2m1Doubled[y & 15];
            const int high = kE2m1Doubled[x >> 4] * kE2m1Doubled[y >> 4];
            dot += low + high, magnitudes += std::abs(low) + std::abs(high);
          }
          const double scales = double{decodeE4m3(as[row * c.k / 16 + b])} * decodeE4m3(ws[column * c.k / 16 + b]);
          size += std::fabs(sum) + magnitudes * .25 * scales;
          sum += dot * .25 * scales;
        }
        const double by = double{alpha[e * c.parts + n * c.parts / c.n]} * (c.hasRowScale ? rowScale[row] : 1.f);
        out.exact.push_back(sum * by), out.size.push_back(size * std::fabs(by));
      }
  return out;
}

// Cuts of a sum that stays in the tensor core, and alpha and the row's scale, in units of 2^-24 of what it adds
// (w4a4.h; packages/verify/src/bounds.ts has the same).
constexpr double kFastRoundings = 44;

// The most that any element uses of its bound.
double shareOfBound(const std::vector<float>& got, const Sums& sums) {
  double most = 0;
  for (std::size_t i = 0; i < got.size(); i++) {
    const double bound = kFastRoundings * 0x1p-24 * sums.size[i], error = std::fabs(got[i] - sums.exact[i]);
    if (std::isnan(error)) return INFINITY;
    most = std::fmax(most, error == 0 ? 0 : error / bound);
  }
  return most;
}

// The same by the generic kernel of the CPU.
std::vector<float> onCpu(const Case& c, const std::vector<std::uint8_t>& w, const std::vector<std::uint8_t>& ws,
                         const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& as,
                         const std::vector<float>& alpha, const std::vector<float>& rowScale) {
  const auto experts = static_cast<std::int64_t>(c.counts.size());
  gemm::Weight weight(gemm::Format::nvfp4, experts, c.n, c.k);
  for (std::int64_t e = 0; e < experts; e++)
    gemm::putNvfp4(weight, e, 0, c.n, w.data() + e * c.n * c.k / 2, ws.data() + e * c.n * c.k / 16, 1);
  std::vector<std::int32_t> ends(c.counts.size());
  std::partial_sum(c.counts.begin(), c.counts.end(), ends.begin());
  std::vector<float> out(static_cast<std::size_t>(ends.back() * c.n));
  gemm::GroupedW4A4Params p = {};
  p.w = &weight;
  p.parts = c.parts;
  p.aCodes = a.data();
  p.aSf = as.data();
  p.expertOffsets = ends.data();
  p.alpha = alpha.data();
  p.rowScale = c.hasRowScale ? rowScale.data() : nullptr;
  p.out = out.data();
  for (const auto& table : gemm::availableTables())
    if (std::strcmp(table.isa, "generic") == 0) table.groupedW4A4(p, 2);
  return out;
}

void compare(Device& device, const Case& c, unsigned seed) {
  Random r(seed);
  const auto experts = static_cast<std::int64_t>(c.counts.size());
  std::vector<std::int32_t> ends(c.counts.size());
  std::partial_sum(c.counts.begin(), c.counts.end(), ends.begin());
  const std::int64_t rows = ends.back(), slots = rows + 3;
  const auto w = bytes(r, experts * c.n * c.k / 2), ws = bytes(r, experts * c.n * c.k / 16, 127);
  const auto a = bytes(r, slots * c.k / 2), as = bytes(r, slots * c.k / 16, 127);
  const auto alpha = floats(r, experts * c.parts), rowScale = floats(r, slots);
  const auto want = byDefinition(c, w, ws, a, as, alpha, rowScale);
  CHECK(differing(onCpu(c, w, ws, a, as, alpha, rowScale), want) == 0);

  W4A4Params p = {};
  p.w = {Format::nvfp4, experts, c.n, c.k, put(device, w), put(device, ws)};
  p.codes = put(device, a), p.sf = put(device, as);
  p.alpha = put(device, alpha), p.parts = c.parts;
  p.rowScale = c.hasRowScale ? put(device, rowScale) : nullptr;
  p.groups = 1, p.m = slots;
  const auto* deviceEnds = put(device, ends);
  void* packed = nullptr;
  if (isPackable(c.n, c.k)) {
    packed = device.allocate(experts * c.n * c.k / 2 + experts * c.n * c.k / 16);
    packRows(device.launch(0), static_cast<const std::uint8_t*>(p.w.data), static_cast<const std::uint8_t*>(p.w.scales),
             c.k, 0, experts * c.n, static_cast<std::uint8_t*>(packed));
  }
  const Weight linear = p.w;
  const auto onTiles = [&](const W4A4Choice& choice, W4A4Math math) {
    p.w = Weight{Format::packed, experts, c.n, c.k, packed, nullptr};
    p.out = poisoned<float>(device, slots * c.n);
    w4a4Tiles(device.launch(0), p, choice, math, deviceEnds, slots);
  };
  // Rows that an expert has; nobody has those after them.
  const auto result = [&] {
    device.launched("w4a4");
    auto got = get(device, p.out, slots * c.n);
    for (std::size_t i = rows * c.n; i < got.size(); i++) CHECK(std::isnan(got[i]));
    got.resize(rows * c.n);
    return got;
  };
  for (const W4A4Choice choice :
       {W4A4Choice{W4A4Kernel::plain, 8}, W4A4Choice{W4A4Kernel::rows8, 8}, W4A4Choice{W4A4Kernel::rows32, 32},
        W4A4Choice{W4A4Kernel::rows64, 64}, W4A4Choice{W4A4Kernel::rows128, 128}}) {
    const bool isPlain = choice.kernel == W4A4Kernel::plain;
    if (!isPlain && packed == nullptr) continue;
    if (isPlain) {
      p.w = linear;
      p.out = poisoned<float>(device, slots * c.n);
      const std::int64_t most = mostJobs(slots, experts, choice.rows);
      auto* jobs = poisoned<Job>(device, most);
      planJobs(device.launch(0), deviceEnds, experts, slots, choice.rows, p.alpha, c.parts, jobs, most);
      w4a4Plain(device.launch(0), p, jobs, most);
    } else {
      onTiles(choice, W4A4Math::exact);
    }
    const auto got = result();
    const std::size_t differ = differing(got, want);
    if (differ > 0)
      std::printf("kernel %d n %lld k %lld rows %lld: %zu of %zu differ\n", static_cast<int>(choice.kernel),
                  static_cast<long long>(c.n), static_cast<long long>(c.k), static_cast<long long>(rows), differ,
                  want.size());
    CHECK(differ == 0);
  }
  if (packed == nullptr) return;
  // Sums that stay in the tensor core: within their bound, the same in every shape, and not those of the contract.
  const Sums sums = exactSums(c, w, ws, a, as, alpha, rowScale);
  CHECK(shareOfBound(want, sums) <= 1);
  std::vector<float> first;
  for (const W4A4Choice choice : {W4A4Choice{W4A4Kernel::rows8, 8}, W4A4Choice{W4A4Kernel::rows32, 32},
                                  W4A4Choice{W4A4Kernel::rows64, 64}, W4A4Choice{W4A4Kernel::rows128, 128}}) {
    onTiles(choice, W4A4Math::fast);
    const auto got = result();
    const double share = shareOfBound(got, sums);
    if (first.empty()) first = got;
    const std::size_t differ = differing(got, first);
    std::printf("fast, kernel %d n %lld k %lld rows %lld: %.3f of the bound, %zu of %zu differ from exact\n",
                static_cast<int>(choice.kernel), static_cast<long long>(c.n), static_cast<long long>(c.k),
                static_cast<long long>(rows), share, differing(got, want), want.size());
    CHECK(share <= 1);
    CHECK(differ == 0);
  }
  if (c.k == 4096) CHECK(differing(first, want) > 0);
}

}  // namespace

int main(int argc, char**) {
  if (!hasGpu()) return kSkip;
  Device device(0);
  compare(device, {2, 16, 1, {1}, false}, 1);
  compare(device, {34, 48, 2, {0, 3, 0, 5}, true}, 2);
  compare(device, {16, 64, 1, {1}, false}, 3);
  compare(device, {64, 64, 2, {1, 0, 2, 8, 9, 0, 17, 1}, true}, 4);
  compare(device, {48, 128, 1, {70, 0, 64, 65, 1}, false}, 5);
  compare(device, {272, 320, 2, {5, 0, 33}, false}, 6);
  if (argc > 1) return megamoe::test::finish();  // "small": for tools that take their time
  compare(device, {128, 576, 2, {513, 0, 1, 40}, true}, 7);
  compare(device, {144, 1024, 1, {128, 7, 0, 16}, false}, 8);
  compare(device, {512, 4096, 2, {9, 66}, false}, 9);
  return megamoe::test::finish();
}
