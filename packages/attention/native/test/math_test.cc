// exp, dot and rope against double.
#include <megamoe/test.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "../dispatch.h"
#include "../ops.h"
#include "naive.h"

namespace attention {
namespace under_test {
#include "../kernels/generic/lanes.h"
}
}  // namespace attention

using namespace attention;

static void testExp() {
  double worst = 0;
  for (int i = 0; i <= 870000; i++) {
    const float x = static_cast<float>(-i) * 1e-4f;
    const double want = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::fabs(under_test::expNonPositive(x) - want) / want);
  }
  std::printf("exp: largest relative error %.3g\n", worst);
  CHECK(worst < 2.0 * 0x1.0p-23);
  CHECK(under_test::expNonPositive(0.0f) == 1.0f);
  CHECK(under_test::expNonPositive(-0.0f) == 1.0f);
  CHECK(under_test::expNonPositive(-88.0f) == 0.0f);
  CHECK(under_test::expNonPositive(-std::numeric_limits<float>::infinity()) == 0.0f);
  CHECK(std::isnan(under_test::expNonPositive(std::numeric_limits<float>::quiet_NaN())));
}

static void testDot() {
  naive::Random random{1};
  for (int64_t n : {0, 1, 2, 15, 16, 17, 31, 33, 64, 512, 515}) {
    const auto x = random.floats(n + 1), y = random.floats(n + 1);
    double want = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
      want += static_cast<double>(x[i]) * y[i];
      size += std::fabs(static_cast<double>(x[i]) * y[i]);
    }
    CHECK(std::fabs(under_test::dot(x.data(), y.data(), n) - want) <= 40 * 0x1.0p-24 * size);
  }
}

static void testRope(const KernelTable& k) {
  naive::Random random{2};
  for (int64_t ropeDim : {0, 2, 6, 18, 64}) {
    const int64_t m = 5, heads = 3, d = 67, pairs = ropeDim / 2;
    const auto cos = random.floats(m * pairs), sin = random.floats(m * pairs);
    const auto x = random.floats(m * heads * d);
    for (bool inverse : {false, true}) {
      auto got = x;
      RopeParams p{m, heads, d, ropeDim, got.data(), cos.data(), sin.data(), inverse};
      runRope(k, p, 2);
      bool right = true;
      for (int64_t r = 0; r < m; r++) {
        for (int64_t h = 0; h < heads; h++) {
          const int64_t at = (r * heads + h) * d;
          for (int64_t i = 0; i < d - ropeDim; i++) right = right && got[at + i] == x[at + i];
          for (int64_t i = 0; i < pairs; i++) {
            const int64_t e = at + d - ropeDim + 2 * i;
            const double c = cos[r * pairs + i], s = (inverse ? -1.0 : 1.0) * sin[r * pairs + i];
            right = right && std::fabs(got[e] - (x[e] * c - x[e + 1] * s)) < 3e-7;
            right = right && std::fabs(got[e + 1] - (x[e + 1] * c + x[e] * s)) < 3e-7;
          }
        }
      }
      CHECK(right);
      auto plain = x;  // every instruction set rounds at the same places
      p.x = plain.data();
      runRope(kGenericKernels, p, 1);
      CHECK(naive::sameBits(got, plain));
    }
  }
}

// A machine is given what all of its features allow, generic always and last.
static void testDispatch() {
  megamoe::CpuFeatures f;
  const auto names = [&] {
    std::string s;
    for (const KernelTable* k : kernelsFor(f)) s += std::string(k->name) + " ";
    return s;
  };
  CHECK(names() == "generic ");
  CHECK(usableKernels().back() == &kGenericKernels);
  f.avx2 = true;
  CHECK(names() == "generic ");  // not without FMA
  f.fma = f.f16c = true;
#if defined(__x86_64__)
  CHECK(names() == "avx2 generic ");
  bool* const wide[] = {&f.avx512f, &f.avx512bw, &f.avx512vl, &f.avx512dq, &f.avx512vnni, &f.avx512vbmi, &f.avx512bf16};
  for (bool* feature : wide) *feature = true;
  CHECK(names() == "avx512 avx2 generic ");
  for (bool* feature : wide) {
    *feature = false;
    CHECK(names() == "avx2 generic ");
    *feature = true;
  }
#elif defined(__aarch64__)
  f = {};
  f.neon = true;
  CHECK(names() == "neon generic ");
  f.dotprod = true;
  CHECK(names() == "neon-dotprod neon generic ");
#else
  CHECK(names() == "generic ");
#endif
}

int main() {
  testExp();
  testDot();
  for (const KernelTable* k : usableKernels()) testRope(*k);
  testDispatch();
  return megamoe::test::finish();
}
