// linear, dense experts, embedding: against float64; a row's bits must not depend on its neighbours or on threads.
#include "../kernels/nvfp4/bf16_rule.h"
#include "support.h"

using namespace megamoe;
using namespace megamoe::gemm;
using namespace megamoe::gemm::test;

namespace {

std::vector<std::uint16_t> toBf16(const std::vector<float>& v) {
  std::vector<std::uint16_t> out;
  for (const float x : v) out.push_back(encodeBf16(x));
  return out;
}

// The two linears of a table: with float32 activations, and with activations that are rounded to BF16.
struct Linear {
  const KernelTable& table;
  bool isBf16;

  std::vector<float> operator()(const Weight& w, const float* x, std::int64_t m, int threads) const {
    std::vector<float> out = poisoned(m * w.matrices * w.n);
    const LinearParams p{&w, x, m, out.data()};
    if (isBf16)
      table.linearBf16({p}, threads);
    else
      table.linear(p, threads);
    return out;
  }
};

// What `values` [groups*n, k] give with float32 activations and with activations that are rounded to BF16.
void checkLinear(const KernelTable& table, const Weight& w, const std::vector<double>& values,
                 const std::vector<float>& x, std::int64_t m) {
  const std::int64_t n = w.n, k = w.k, groups = w.matrices;
  for (const bool isBf16 : {false, true}) {
    const Linear linear{table, isBf16};
    std::vector<double> want(static_cast<std::size_t>(m * groups * n));
    for (std::int64_t r = 0; r < m; r++)
      for (std::int64_t c = 0; c < groups * n; c++) {
        double sum = 0;
        for (std::int64_t i = 0; i < k; i++) {
          const float a = x[static_cast<std::size_t>((r * groups + c / n) * k + i)];
          sum += (isBf16 ? bitsToFloat(nvfp4::activationBf16(a) << 16) : double(a)) *
                 values[static_cast<std::size_t>(c * k + i)];
        }
        want[static_cast<std::size_t>(r * groups * n + c)] = sum;
      }
    const std::vector<float> got = linear(w, x.data(), m, 1);
    CHECK(nmse(got, want) < 1e-12);
    for (const int threads : {2, 5}) CHECK(sameBits(linear(w, x.data(), m, threads), got));
    for (std::int64_t r = 0; r < m; r++) {
      const auto begin = got.begin() + r * groups * n;
      CHECK(sameBits(linear(w, x.data() + r * groups * k, 1, 2), std::vector<float>(begin, begin + groups * n)));
    }
    if (groups > 1 || m < 2) continue;
    const std::int32_t offsets[] = {static_cast<std::int32_t>(m)};  // the same rows as those of an expert
    std::vector<float> grouped = poisoned(m * n);
    GroupedA16Params p{};
    p.w = &w, p.parts = 1, p.expertOffsets = offsets, p.out = grouped.data(), p.a = x.data();
    if (isBf16)
      table.groupedDenseBf16({p}, 2);
    else
      table.groupedDense({p}, 2);
    CHECK(sameBits(grouped, got));
  }
}

// FP8: all codes but NaN, subnormals among them, and scales that differ from row to row as they do where tiles meet in
// a panel.
void fp8Case(const KernelTable& table, std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t groups) {
  Random random(static_cast<std::uint64_t>(m * 1000 + n * 10 + k + 1));
  const std::int64_t tiles = (k + kFp8Tile - 1) / kFp8Tile;
  std::vector<std::uint8_t> codes = random.bytes(groups * n * k);
  for (std::uint8_t& c : codes)
    if ((c & 0x7f) == 0x7f) c ^= 0x40;
  std::vector<float> scales(static_cast<std::size_t>(groups * n * tiles));
  for (float& s : scales) s = 0.001f * (1.5f + random.uniform());
  const std::vector<float> x = random.floats(m * groups * k);
  Weight w(Format::fp8, groups, n, k);
  for (std::int64_t g = 0; g < groups; g++)
    putFp8(w, g, 0, n, codes.data() + g * n * k, scales.data() + g * n * tiles, 2);
  std::vector<double> values;
  for (std::int64_t i = 0; i < groups * n * k; i++)
    values.push_back(double(decodeE4m3(codes[static_cast<std::size_t>(i)])) *
                     scales[static_cast<std::size_t>(i / k * tiles + i % k / kFp8Tile)]);
  checkLinear(table, w, values, x, m);
  if (groups > 1) return;
  std::vector<float> rows = poisoned(2 * k);  // embedding: one rounding
  const std::int32_t ids[] = {static_cast<std::int32_t>(n - 1), 0};
  table.embed({&w, ids, 2, 1, rows.data()}, 1);
  bool same = true;
  for (std::int64_t i = 0; i < 2 * k; i++) {
    const std::int64_t row = ids[i / k], at = i % k;
    same =
        same && rows[static_cast<std::size_t>(i)] == decodeE4m3(codes[static_cast<std::size_t>(row * k + at)]) *
                                                         scales[static_cast<std::size_t>(row * tiles + at / kFp8Tile)];
  }
  CHECK(same);
}

// Every code alone: x picks one of 256 columns, so that the result is the code's value.
void fp8Codes(const KernelTable& table) {
  std::vector<std::uint8_t> codes;
  for (int c = 0; c < 256; c++) codes.push_back((c & 0x7f) == 0x7f ? 0 : static_cast<std::uint8_t>(c));
  const std::vector<float> scales = {0.5f, 2.f};
  Weight w(Format::fp8, 1, 1, 256);
  putFp8(w, 0, 0, 1, codes.data(), scales.data(), 1);
  bool same = true;
  for (std::size_t c = 0; c < 256; c++) {
    std::vector<float> x(256);
    x[c] = 3.f;
    for (const bool isBf16 : {false, true})
      same = same && Linear{table, isBf16}(w, x.data(), 1, 1)[0] == 3.f * decodeE4m3(codes[c]) * scales[c / 128];
  }
  CHECK(same);
}

void linearCase(const KernelTable& table, std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t groups) {
  Random random(static_cast<std::uint64_t>(m * 1000 + n * 10 + k));
  const std::vector<std::uint16_t> bits = toBf16(random.floats(groups * n * k));
  std::vector<float> values;
  for (const std::uint16_t b : bits) values.push_back(decodeBf16(b));
  const std::vector<float> x = random.floats(m * groups * k);
  Weight f32(Format::f32, groups, n, k), bf16(Format::bf16, groups, n, k);
  for (std::int64_t g = 0; g < groups; g++) {
    putDense(f32, g, 0, n, values.data() + g * n * k);
    putDense(bf16, g, 0, n, bits.data() + g * n * k);
  }
  for (const Weight* w : {&f32, &bf16}) checkLinear(table, *w, std::vector<double>(values.begin(), values.end()), x, m);
}

void embedCase(const KernelTable& table) {
  Random random(4);
  const std::vector<std::uint16_t> bits = toBf16(random.floats(5 * 7));
  Weight w(Format::bf16, 1, 5, 7);
  putDense(w, 0, 0, 5, bits.data());
  const std::int32_t ids[] = {4, 0, 4};
  std::vector<float> out = poisoned(3 * 2 * 7);
  table.embed({&w, ids, 3, 2, out.data()}, 2);
  bool same = true;
  for (std::size_t i = 0; i < out.size(); i++)
    same = same && out[i] == decodeBf16(bits[static_cast<std::size_t>(ids[i / 14]) * 7 + i % 7]);
  CHECK(same);
}

}  // namespace

int main() {
  for (const KernelTable& table : tables()) {
    for (const std::int64_t m : {1, 2, 3, 5})
      for (const std::int64_t n : {1, 7, 8, 9, 33})
        for (const std::int64_t k : {1, 15, 16, 17, 100}) {
          linearCase(table, m, n, k, 1 + (m + n + k) % 3);
          fp8Case(table, m, n, k, 1 + (m + n + k) % 3);
        }
    linearCase(table, 9, 100, 512, 2);
    for (const std::int64_t m : {4, 6, 7, 13})
      for (const std::int64_t k : {33, 64, 128, 192, 1024, 1025, 2100}) {
        linearCase(table, m, 9, k, 1);
        fp8Case(table, m, 9, k, 1);
      }
    fp8Case(table, 8, 261, 130, 2);
    for (const std::int64_t m : {97, 200}) {  // more rows than are copied together
      linearCase(table, m, 29, 70, 1);
      fp8Case(table, m, 29, 200, 1);
    }
    fp8Codes(table);
    linearCase(table, 8, 261, 40, 1);
    embedCase(table);
  }
  return megamoe::test::finish();
}
