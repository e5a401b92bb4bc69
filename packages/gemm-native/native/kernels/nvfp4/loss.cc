// Compiled without instruction-set flags: the order of the sums is that of JavaScript, two for each block, so every
// machine has the same bits.
#include "loss.h"

#include <megamoe/codecs.h>
#include <megamoe/thread_pool.h>

namespace megamoe::gemm {

namespace {

constexpr std::int64_t kElementsPerThread = 1 << 14;  // worth waking a thread

struct Values {
  double low[256], high[256];

  Values() {
    for (unsigned byte = 0; byte < 256; byte++) {
      low[byte] = decodeE2m1(byte & 15);
      high[byte] = decodeE2m1(byte >> 4);
    }
  }
};

void lossOfRow(const LossParams& p, const Values& values, std::int64_t row) {
  const float* x = p.x + row * p.k;
  const std::uint8_t* codes = p.codes + row * (p.k / 2);
  const std::uint8_t* sf = p.sf + row * (p.k / 16);
  double error = 0, original = 0, result = 0;
  for (std::int64_t block = 0; block < p.k / 16; block++, x += 16, codes += 8) {
    const double d = decodeE4m3(sf[block]) * p.globalDecodeScale;
    double e0 = 0, e1 = 0, o0 = 0, o1 = 0, r0 = 0, r1 = 0;
    for (int j = 0; j < 8; j++) {
      const double x0 = x[2 * j], x1 = x[2 * j + 1];
      const double y0 = values.low[codes[j]] * d, y1 = values.high[codes[j]] * d;
      const double d0 = y0 - x0, d1 = y1 - x1;
      e0 += d0 * d0;
      e1 += d1 * d1;
      o0 += x0 * x0;
      o1 += x1 * x1;
      r0 += y0 * y0;
      r1 += y1 * y1;
    }
    error += e0 + e1;
    original += o0 + o1;
    result += r0 + r1;
  }
  double* sums = p.sums + row * 3;
  sums[0] = error;
  sums[1] = original;
  sums[2] = result;
}

}  // namespace

void nvfp4Loss(const LossParams& p, int threads) {
  static const Values values;
  parallelFor(p.m, threads, kElementsPerThread / p.k + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; row++) lossOfRow(p, values, row);
  });
}

}  // namespace megamoe::gemm
