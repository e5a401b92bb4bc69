// Row-wise operations: gather, SwiGLU, weighted scatter, sum, RMS norm.
#include <megamoe/thread_pool.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "generic.h"

namespace megamoe::gemm::generic {

namespace {

constexpr std::int64_t kCopyWork = 4;  // one copied element, in multiply-adds of grainOf
constexpr std::int64_t kExpWork = 32;  // one exponential

}  // namespace

void gatherRows(const GatherParams& p, int threads) {
  parallelFor(p.rows, threads, grainOf(p.d * kCopyWork), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; r++)
      std::memcpy(p.out + r * p.d, p.x + p.slotToken[r] * p.d, static_cast<std::size_t>(p.d) * sizeof(float));
  });
}

void swigluRow(const float* gate, const float* up, std::int64_t n, float limit, float* out) {
  for (std::int64_t c = 0; c < n; c++) {
    // Comparisons, not min and max: a NaN must come through.
    const float g = gate[c] > limit ? limit : gate[c];
    const float u = up[c] > limit ? limit : up[c] < -limit ? -limit : up[c];
    // In double, as the TypeScript twin: both then round to the same float32, and the codes that are made of it agree.
    const double silu = g / (1.0 + std::exp(-static_cast<double>(g)));
    out[c] = static_cast<float>(silu * u);
  }
}

void swiglu(const SwigluParams& p, int threads) {
  parallelFor(p.m, threads, grainOf(p.i * kExpWork), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; r++) {
      const float* gate = p.gateUp + r * 2 * p.i;
      swigluRow(gate, gate + p.i, p.i, p.limit, p.out + r * p.i);
    }
  });
}

void scatterExperts(const ScatterParams& p, int threads) {
  parallelFor(p.t, threads, grainOf(p.d * p.topk * kCopyWork), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; t++) {
      float* out = p.out + t * p.d;
      std::fill(out, out + p.d, 0.f);
      for (std::int64_t j = 0; j < p.topk; j++) {
        const std::int64_t slot = p.tokenSlots[t * p.topk + j];
        if (slot < 0) continue;
        const float w = p.topkWeights[t * p.topk + j];
        const float* y = p.y + slot * p.d;
        for (std::int64_t c = 0; c < p.d; c++) out[c] += w * y[c];
      }
    }
  });
}

void addInPlace(const AddParams& p, int threads) {
  parallelFor(p.n, threads, grainOf(kCopyWork), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) p.out[i] += p.x[i];
  });
}

float rmsFactor(const float* x, std::int64_t d, double eps) {
  double s[8] = {};
  std::int64_t c = 0;
  for (; c + 8 <= d; c += 8)
    for (int l = 0; l < 8; l++) s[l] += static_cast<double>(x[c + l]) * static_cast<double>(x[c + l]);
  for (; c < d; c++) s[0] += static_cast<double>(x[c]) * static_cast<double>(x[c]);
  const double sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
  return static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(d) + eps));
}

void rmsNorm(const RmsNormParams& p, int threads) {
  parallelFor(p.m, threads, grainOf(p.d * kCopyWork), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; r++) {
      const float* x = p.x + r * p.d;
      float* out = p.out + r * p.d;
      const float f = rmsFactor(x, p.d, p.eps);
      if (p.weight == nullptr)
        for (std::int64_t c = 0; c < p.d; c++) out[c] = x[c] * f;
      else
        for (std::int64_t c = 0; c < p.d; c++) out[c] = x[c] * f * p.weight[c];
    }
  });
}

}  // namespace megamoe::gemm::generic
