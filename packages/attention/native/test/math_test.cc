// exp, dot and rope against double.
#include <megamoe/test.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "../kernels/dispatch.h"
#include "../kernels/generic/lanes.h"
#include "naive.h"

using namespace megamoe::attention;

static void testExp() {
  double worst = 0;
  for (int i = 0; i <= 870000; i++) {
    const float x = static_cast<float>(-i) * 1e-4f;
    const double want = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::fabs(generic::expNonPositive(x) - want) / want);
  }
  std::printf("exp: largest relative error %.3g\n", worst);
  CHECK(worst < 2.0 * 0x1.0p-23);
  CHECK(generic::expNonPositive(0.0f) == 1.0f);
  CHECK(generic::expNonPositive(-0.0f) == 1.0f);
  CHECK(generic::expNonPositive(-88.0f) == 0.0f);
  CHECK(generic::expNonPositive(-std::numeric_limits<float>::infinity()) == 0.0f);
  CHECK(std::isnan(generic::expNonPositive(std::numeric_limits<float>::quiet_NaN())));
}

static void testDot() {
  naive::Random random{1};
  for (std::int64_t n : {0, 1, 2, 15, 16, 17, 31, 33, 64, 512, 515}) {
    const auto x = random.floats(n + 1), y = random.floats(n + 1);
    double want = 0, size = 0;
    for (std::int64_t i = 0; i < n; i++) {
      want += static_cast<double>(x[i]) * y[i];
      size += std::fabs(static_cast<double>(x[i]) * y[i]);
    }
    CHECK(std::fabs(generic::dot(x.data(), y.data(), n) - want) <= 40 * 0x1.0p-24 * size);
  }
}

static void testRope(const KernelTable& k) {
  naive::Random random{2};
  for (std::int64_t ropeDim : {0, 2, 6, 18, 64}) {
    const std::int64_t m = 5, heads = 3, d = 67, pairs = ropeDim / 2;
    const auto cos = random.floats(m * pairs), sin = random.floats(m * pairs);
    const auto x = random.floats(m * heads * d);
    for (bool inverse : {false, true}) {
      auto got = x;
      RopeParams p{m, heads, d, ropeDim, got.data(), cos.data(), sin.data(), inverse};
      k.rope(p, 2);
      bool right = true;
      for (std::int64_t r = 0; r < m; r++) {
        for (std::int64_t h = 0; h < heads; h++) {
          const std::int64_t at = (r * heads + h) * d;
          for (std::int64_t i = 0; i < d - ropeDim; i++) right = right && got[at + i] == x[at + i];
          for (std::int64_t i = 0; i < pairs; i++) {
            const std::int64_t e = at + d - ropeDim + 2 * i;
            const double c = cos[r * pairs + i], s = (inverse ? -1.0 : 1.0) * sin[r * pairs + i];
            right = right && std::fabs(got[e] - (x[e] * c - x[e + 1] * s)) < 3e-7;
            right = right && std::fabs(got[e + 1] - (x[e + 1] * c + x[e] * s)) < 3e-7;
          }
        }
      }
      CHECK(right);
      auto plain = x;  // every instruction set rounds at the same places
      p.x = plain.data();
      availableTables().back().rope(p, 1);
      CHECK(naive::sameBits(got, plain));
    }
  }
}

int main() {
  testExp();
  testDot();
  for (const KernelTable& k : availableTables()) testRope(k);
  return megamoe::test::finish();
}
