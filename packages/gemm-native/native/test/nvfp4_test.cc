// W4A4 bit for bit by its definition, W4A16 against float64; panel edges, empty experts, any number of threads.
#include <algorithm>
#include <memory>

#include "support.h"

using namespace megamoe;
using namespace megamoe::gemm;
using namespace megamoe::gemm::test;

namespace {

struct Case {
  std::int64_t n, k, parts, rows;
  std::vector<std::int32_t> offsets;
  std::vector<std::uint8_t> bCodes, bSf, aCodes, aSf;
  std::vector<float> alpha, rowScale, a;
  std::unique_ptr<Weight> w;

  Case(std::uint64_t seed, const std::vector<int>& counts, std::int64_t n, std::int64_t k, std::int64_t parts)
      : n(n), k(k), parts(parts), rows(0) {
    Random random(seed);
    const std::int64_t experts = static_cast<std::int64_t>(counts.size());
    for (int c : counts) offsets.push_back(static_cast<std::int32_t>(rows += c));
    bCodes = random.bytes(experts * n * k / 2);
    bSf = random.bytes(experts * n * k / 16, 0x7e);
    aCodes = random.bytes(rows * k / 2);
    aSf = random.bytes(rows * k / 16, 0x7e);
    alpha = random.floats(experts * parts);
    rowScale = random.floats(rows);
    a = random.floats(rows * k);
    w = std::make_unique<Weight>(Format::nvfp4, experts, n, k);
    const std::int64_t perPart = n / parts;
    for (std::int64_t e = 0; e < experts; e++)
      for (std::int64_t p = 0; p < parts; p++) {
        const std::int64_t row = e * n + p * perPart;
        putNvfp4(*w, e, p * perPart, perPart, bCodes.data() + row * k / 2, bSf.data() + row * k / 16, 2);
      }
  }

  std::int64_t expertOf(std::int64_t r) const {
    std::int64_t e = 0;
    while (offsets[static_cast<std::size_t>(e)] <= r) e++;
    return e;
  }
  static float value(const std::vector<std::uint8_t>& codes, std::int64_t i) {
    return decodeE2m1(codes[static_cast<std::size_t>(i / 2)] >> ((i % 2) * 4));
  }

  std::vector<float> w4a4(bool dynamic) const {
    std::vector<float> out = poisoned(rows * n);
    for (std::int64_t r = 0; r < rows; r++)
      for (std::int64_t c = 0; c < n; c++) {
        const std::int64_t e = expertOf(r), b0 = (e * n + c) * k;
        float acc = 0;
        for (std::int64_t i = 0; i < k; i += 16) {
          double dot = 0;
          for (std::int64_t j = i; j < i + 16; j++) dot += double(value(aCodes, r * k + j)) * value(bCodes, b0 + j);
          const double product = dot * decodeE4m3(aSf[static_cast<std::size_t>((r * k + i) / 16)]) *
                                 decodeE4m3(bSf[static_cast<std::size_t>((b0 + i) / 16)]);
          acc += static_cast<float>(product);
        }
        const float v = alpha[static_cast<std::size_t>(e * parts + c / (n / parts))] * acc;
        out[static_cast<std::size_t>(r * n + c)] = dynamic ? v * rowScale[static_cast<std::size_t>(r)] : v;
      }
    return out;
  }

  // The rule of bf16_rule.h, word by word.
  std::vector<float> bf16() const {
    std::vector<float> out = poisoned(rows * n);
    for (std::int64_t r = 0; r < rows; r++)
      for (std::int64_t c = 0; c < n; c++) {
        const std::int64_t e = expertOf(r), b0 = (e * n + c) * k;
        float acc = 0;
        for (std::int64_t i = 0; i < k; i += 8)
          for (const int j : {2, 0, 6, 4, 3, 1, 7, 5}) {
            const float scale = decodeE4m3(bSf[static_cast<std::size_t>((b0 + i) / 16)]);
            acc = std::fma(decodeBf16(encodeBf16(a[static_cast<std::size_t>(r * k + i + j)])),
                           value(bCodes, b0 + i + j) * scale, acc);
          }
        out[static_cast<std::size_t>(r * n + c)] = alpha[static_cast<std::size_t>(e * parts + c / (n / parts))] * acc;
      }
    return out;
  }

  std::vector<double> w4a16() const {
    std::vector<double> out(static_cast<std::size_t>(rows * n));
    for (std::int64_t r = 0; r < rows; r++)
      for (std::int64_t c = 0; c < n; c++) {
        const std::int64_t e = expertOf(r), b0 = (e * n + c) * k;
        double sum = 0;
        for (std::int64_t j = 0; j < k; j++)
          sum += double(a[static_cast<std::size_t>(r * k + j)]) * value(bCodes, b0 + j) *
                 decodeE4m3(bSf[static_cast<std::size_t>((b0 + j) / 16)]);
        out[static_cast<std::size_t>(r * n + c)] = sum * alpha[static_cast<std::size_t>(e * parts + c / (n / parts))];
      }
    return out;
  }
};

template <class Params>
Params paramsOf(const Case& c, std::vector<float>& out) {
  out = poisoned(c.rows * c.n);
  Params p{};
  p.w = c.w.get();
  p.parts = c.parts;
  p.expertOffsets = c.offsets.data();
  p.alpha = c.alpha.data();
  p.out = out.data();
  return p;
}

std::vector<float> runW4A4(const KernelTable& table, const Case& c, bool dynamic, int threads) {
  std::vector<float> out;
  auto p = paramsOf<GroupedW4A4Params>(c, out);
  p.aCodes = c.aCodes.data();
  p.aSf = c.aSf.data();
  p.rowScale = dynamic ? c.rowScale.data() : nullptr;
  table.groupedW4A4(p, threads);
  return out;
}

std::vector<float> runW4A16(const KernelTable& table, const Case& c, int threads) {
  std::vector<float> out;
  auto p = paramsOf<GroupedW4A16Params>(c, out);
  p.a = c.a.data();
  table.groupedW4A16(p, threads);
  return out;
}

std::vector<float> runBf16(const KernelTable& table, const Case& c, int threads) {
  std::vector<float> out;
  auto p = paramsOf<GroupedBf16Params>(c, out);
  p.a = c.a.data();
  table.groupedBf16(p, threads);
  return out;
}

void check(const KernelTable& table, const Case& c) {
  for (const bool dynamic : {false, true}) {
    const std::vector<float> want = c.w4a4(dynamic);
    for (const int threads : {1, 2, 5}) CHECK(sameBits(runW4A4(table, c, dynamic, threads), want));
  }
  const std::vector<float> one = runW4A16(table, c, 1);
  CHECK(nmse(one, c.w4a16()) < 1e-12);
  CHECK(sameBits(runW4A16(tables().back(), c, 1), one));
  for (const int threads : {2, 5}) CHECK(sameBits(runW4A16(table, c, threads), one));
  const std::vector<float> bf16 = c.bf16();
  for (const int threads : {1, 3}) CHECK(sameBits(runBf16(table, c, threads), bf16));
}

// Many rows take another path; zero scales on either side, whole ranges of them, must add nothing on any path.
void manyRows(const KernelTable& table) {
  Case c(7, {150, 0, 9}, 40, 208, 2);
  Random random(8);
  for (std::uint8_t& b : c.aSf)
    if (random.below(4) == 0) b = 0;
  for (std::uint8_t& b : c.bSf)
    if (random.below(4) == 0) b = static_cast<std::uint8_t>(random.below(9));  // zeros, subnormals, the first normal
  for (std::int64_t e = 0; e < 3; e++) {
    const std::int64_t row = e * c.n;
    putNvfp4(*c.w, e, 0, c.n, c.bCodes.data() + row * c.k / 2, c.bSf.data() + row * c.k / 16, 1);
  }
  check(table, c);
}

// Blocks of very different size, zeros, subnormals and the largest numbers: an error of each block's own size, and the
// same bits.
void extremes(const KernelTable& table) {
  Case c(9, {11}, 33, 96, 1);
  Random random(10);
  for (std::int64_t i = 0; i < c.rows * c.k; i += 16) {
    const int e = static_cast<int>(random.below(200)) - 110;
    for (std::int64_t j = i; j < i + 16; j++)
      c.a[static_cast<std::size_t>(j)] = std::ldexp(c.a[static_cast<std::size_t>(j)], e);
  }
  std::fill(c.a.begin(), c.a.begin() + c.k, 0.f);
  std::fill(c.a.begin() + c.k, c.a.begin() + 2 * c.k, 1e-42f);
  const std::vector<float> got = runW4A16(table, c, 2);
  const std::vector<double> want = c.w4a16();
  for (std::int64_t r = 0; r < c.rows; r++) {
    double most = 0;
    for (std::int64_t i = r * c.k; i < (r + 1) * c.k; i++)
      most = std::max(most, std::fabs(double(c.a[static_cast<std::size_t>(i)])));
    const double bound = 448.0 * 6 * static_cast<double>(c.k) * (most * 0x1p-22 + 0x1p-122);
    for (std::int64_t i = r * c.n; i < (r + 1) * c.n; i++)
      CHECK(std::fabs(got[static_cast<std::size_t>(i)] - want[static_cast<std::size_t>(i)]) <= bound);
  }
  CHECK(sameBits(got, runW4A16(tables().back(), c, 1)));
  c.a[static_cast<std::size_t>(3 * c.k + 5)] = std::nanf("");
  c.a[static_cast<std::size_t>(4 * c.k + 90)] = INFINITY;
  const std::vector<float> bad = runW4A16(table, c, 2);
  for (std::int64_t i = 0; i < c.rows * c.n; i++) {
    const bool isBad = i / c.n == 3 || i / c.n == 4;
    CHECK(std::isnan(bad[static_cast<std::size_t>(i)]) == isBad);
    CHECK(isBad || bad[static_cast<std::size_t>(i)] == got[static_cast<std::size_t>(i)]);
  }
}

void badScales() {
  std::vector<std::uint8_t> sf(1000, 0x7e);
  CHECK(findBadScale(sf.data(), 1000) == -1);
  CHECK(findBadScale(sf.data(), 0) == -1);
  for (const std::size_t at : {std::size_t{0}, std::size_t{255}, std::size_t{256}, std::size_t{999}}) {
    sf[at] = at % 2 == 0 ? 0x7f : 0x80;
    CHECK(findBadScale(sf.data(), 1000) == static_cast<std::int64_t>(at));
    CHECK(findBadScale(sf.data(), static_cast<std::int64_t>(at)) == -1);
    sf[at] = 0;
  }
}

}  // namespace

int main() {
  for (const KernelTable& table : tables()) {
    std::uint64_t seed = 1;
    for (const std::int64_t n : {1, 2, 31, 32, 33, 66, 128})
      for (const std::int64_t k : {16, 48, 64, 208})
        for (const std::int64_t parts : {1, 2})
          if (n % parts == 0) check(table, Case(seed++, {0, 3, 17, 0, 1}, n, k, parts));
    check(table, Case(99, {40}, 320, 512, 2));  // large enough for several threads
    check(table, Case(98, {1, 0, 5, 2, 70, 8}, 160, 1024, 2));
    manyRows(table);
    extremes(table);
  }
  badScales();
  return megamoe::test::finish();
}
