// Staging by its definition: every code is nearest to the float32 quotient, every scale nearest to the clamped one.
#include "../kernels/nvfp4/loss.h"
#include "support.h"

using namespace megamoe;
using namespace megamoe::gemm;
using namespace megamoe::gemm::test;

namespace {

unsigned nearestE2m1(float q) {
  const double a = std::fabs(double(q));
  unsigned best = 0;
  for (unsigned c = 1; c < 8; c++) {
    const double d = std::fabs(decodeE2m1(c) - a), b = std::fabs(decodeE2m1(best) - a);
    if (d < b || (d == b && c % 2 == 0)) best = c;
  }
  return a > 6 ? 7 | (q < 0 ? 8 : 0) : best | (q < 0 ? 8 : 0);
}

std::uint8_t nearestE4m3(double s) {
  int best = 0;
  for (int c = 1; c < 0x7f; c++) {
    const double d = std::fabs(decodeE4m3(static_cast<std::uint8_t>(c)) - s),
                 b = std::fabs(decodeE4m3(static_cast<std::uint8_t>(best)) - s);
    if (d < b || (d == b && c % 2 == 0)) best = c;
  }
  return static_cast<std::uint8_t>(best);
}

struct Result {
  std::vector<std::uint8_t> codes, sf;
  std::vector<float> rowScale;
  std::int64_t bad;
};

Result run(const KernelTable& table, const std::vector<float>& x, std::int64_t k, std::int64_t rows,
           const float* scales, const std::int32_t* slots, int threads, float swigluLimit = 0.f) {
  Result r{std::vector<std::uint8_t>(static_cast<std::size_t>(rows * k / 2), 0xcc),
           std::vector<std::uint8_t>(static_cast<std::size_t>(rows * k / 16), 0xcc), poisoned(rows), 0};
  const std::int32_t offsets[] = {static_cast<std::int32_t>(rows / 3), static_cast<std::int32_t>(rows / 3),
                                  static_cast<std::int32_t>(rows)};
  StageParams p{};
  p.x = x.data();
  p.k = k;
  p.slotToken = slots;
  p.rows = rows;
  p.expertOffsets = offsets;
  p.experts = 3;
  p.globalDecodeScale = scales;
  p.rowScale = scales == nullptr ? r.rowScale.data() : nullptr;
  p.codes = r.codes.data();
  p.sf = r.sf.data();
  p.swigluLimit = swigluLimit;
  r.bad = table.stage(p, threads);
  return r;
}

void definition(const KernelTable& table, bool dynamic) {
  constexpr std::int64_t k = 64, tokens = 40, rows = 90;
  Random random(dynamic ? 5 : 6);
  std::vector<float> x = random.floats(tokens * k);
  for (std::int64_t i = 0; i < 48; i++)
    x[static_cast<std::size_t>(i)] = i < 16 ? 0.f : static_cast<float>(i % 13) - 6.f;
  for (std::int64_t i = 5 * k; i < 6 * k; i++) x[static_cast<std::size_t>(i)] *= 1e6f;
  for (std::int64_t i = 7 * k; i < 8 * k; i++) x[static_cast<std::size_t>(i)] = 0.f;
  std::vector<std::int32_t> slots;
  for (std::int64_t i = 0; i < rows; i++) slots.push_back(static_cast<std::int32_t>(random.below(tokens)));
  const float scales[] = {0.001f, 1.f, 0.0007f};
  const Result one = run(table, x, k, rows, dynamic ? nullptr : scales, slots.data(), 1);
  CHECK(one.bad == -1);
  for (const int threads : {2, 5}) {
    const Result again = run(table, x, k, rows, dynamic ? nullptr : scales, slots.data(), threads);
    CHECK(again.codes == one.codes && again.sf == one.sf);
    CHECK(!dynamic || sameBits(again.rowScale, one.rowScale));
  }
  for (std::int64_t r = 0; r < rows; r++) {
    const float* row = x.data() + slots[static_cast<std::size_t>(r)] * k;
    float g = scales[r < rows / 3 ? 0 : 2];
    if (dynamic) {
      float most = 0;
      for (std::int64_t i = 0; i < k; i++) most = std::fmax(most, std::fabs(row[i]));
      g = most == 0 ? 1.f : most / 2688.f;
      CHECK(one.rowScale[static_cast<std::size_t>(r)] == g);
    }
    for (std::int64_t b = 0; b < k / 16; b++) {
      float most = 0;
      for (int i = 0; i < 16; i++) most = std::fmax(most, std::fabs(row[b * 16 + i]));
      float s = most / (6.f * g);
      s = s == 0 ? 1.f : std::fmin(std::fmax(s, 0x1p-9f), 448.f);
      const std::uint8_t byte = one.sf[static_cast<std::size_t>(r * k / 16 + b)];
      CHECK(byte == nearestE4m3(s));
      for (int i = 0; i < 16; i++) {
        const std::int64_t at = r * k + b * 16 + i;
        const unsigned code = (one.codes[static_cast<std::size_t>(at / 2)] >> ((at % 2) * 4)) & 15;
        CHECK(code == nearestE2m1(row[b * 16 + i] / (decodeE4m3(byte) * g)));
      }
    }
  }
}

void notFinite(const KernelTable& table) {
  constexpr std::int64_t k = 32, rows = 900;
  std::vector<float> x(rows * k, 1.f);
  x[700 * k + 3] = INFINITY;
  x[300 * k + 31] = std::nanf("");
  const float scales[] = {1.f, 1.f, 1.f};
  for (const int threads : {1, 2, 5}) {
    CHECK(run(table, x, k, rows, scales, nullptr, threads).bad == 300 * k + 31);
    CHECK(run(table, x, k, rows, nullptr, nullptr, threads).bad == 300 * k + 31);
  }
  const std::int32_t slots[] = {2, 700, 4};
  CHECK(run(table, x, k, 3, scales, slots, 2).bad == 700 * k + 3);
}

// SwiGLU and staging in one pass give the bytes of the two steps, for a row with a NaN its place in the result.
void fusedSwiglu(const KernelTable& table) {
  constexpr std::int64_t k = 2064, rows = 37;
  Random random(5);
  std::vector<float> gateUp = random.floats(rows * 2 * k);
  for (float& v : gateUp) v *= 12;
  std::vector<float> hidden = poisoned(rows * k);
  table.swiglu({gateUp.data(), rows, k, 7.f, hidden.data()}, 2);
  const float scales[] = {0.01f, 1.f, 0.02f};
  for (const bool dynamic : {false, true})
    for (const int threads : {1, 2, 5}) {
      const Result want = run(table, hidden, k, rows, dynamic ? nullptr : scales, nullptr, threads);
      const Result got = run(table, gateUp, k, rows, dynamic ? nullptr : scales, nullptr, threads, 7.f);
      CHECK(want.bad == -1 && got.bad == -1 && got.codes == want.codes && got.sf == want.sf);
      CHECK(!dynamic || sameBits(got.rowScale, want.rowScale));
    }
  gateUp[20 * 2 * k + 2050] = std::nanf("");
  gateUp[30 * 2 * k + k + 1] = std::nanf("");
  for (const int threads : {1, 5})
    CHECK(run(table, gateUp, k, rows, scales, nullptr, threads, 7.f).bad == 20 * k + 2050);
}

// What NVFP4 lost, by its definition; the order of sums is free here, so only nearly the same.
void loss() {
  constexpr std::int64_t m = 7, k = 48;
  constexpr float g = 0.37f;
  Random random(11);
  const std::vector<float> x = random.floats(m * k);
  const std::vector<std::uint8_t> codes = random.bytes(m * k / 2), sf = random.bytes(m * k / 16, 0x7e);
  std::vector<double> sums(static_cast<std::size_t>(m * 3), std::nan("")), again = sums;
  nvfp4Loss({x.data(), m, k, g, codes.data(), sf.data(), sums.data()}, 1);
  nvfp4Loss({x.data(), m, k, g, codes.data(), sf.data(), again.data()}, 3);
  CHECK(sums == again);
  for (std::int64_t row = 0; row < m; row++) {
    double want[3] = {0, 0, 0};
    for (std::int64_t i = row * k; i < (row + 1) * k; i++) {
      const unsigned code = codes[static_cast<std::size_t>(i / 2)] >> (i % 2 * 4) & 15;
      const float scale = decodeE4m3(sf[static_cast<std::size_t>(i / 16)]) * g;
      const double value = x[static_cast<std::size_t>(i)], y = double(decodeE2m1(code)) * scale;
      want[0] += (y - value) * (y - value);
      want[1] += value * value;
      want[2] += y * y;
    }
    for (int j = 0; j < 3; j++)
      CHECK(std::fabs(sums[static_cast<std::size_t>(row * 3 + j)] - want[j]) <= 1e-13 * want[j]);
  }
}

}  // namespace

int main() {
  loss();
  for (const KernelTable& table : tables()) {
    definition(table, false);
    definition(table, true);
    notFinite(table);
    fusedSwiglu(table);
  }
  return megamoe::test::finish();
}
