// Manifold-constrained hyper-connections: residual streams are mixed before and after each block (docs/formats.md D10).
#include <megamoe/thread_pool.h>

#include <algorithm>

#include "../hyper_token.h"
#include "../scratch.h"
#include "generic.h"

namespace megamoe::gemm::generic {

namespace {

struct MixTag {};

// A dot product in 8 partial sums of doubles and a fixed tree over them.
double dot(const float* a, const float* b, std::int64_t n) {
  double s[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int l = 0; l < 8; l++) s[l] += static_cast<double>(a[i + l]) * static_cast<double>(b[i + l]);
  for (; i < n; i++) s[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

// fn . streams for all tokens, [T, mixes], on the calling thread's scratch; the rms factor is applied by the readers.
const double* mixes(const HyperParams& p, std::int64_t count, int threads) {
  double* out = threadScratch<double, MixTag>(p.t * count);
  const std::int64_t width = p.hc * p.d;
  parallelFor(count, threads, grainOf(width * p.t), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = 0; t < p.t; t++)
      for (std::int64_t r = begin; r < end; r++)
        out[t * count + r] = dot(p.fn + r * width, p.streams + t * width, width);
  });
  return out;
}

// out[d] = sum_j pre[j] * streams[j, d], j ascending.
void collapse(const HyperParams& p, const float* streams, const double* pre, float* out) {
  for (std::int64_t c = 0; c < p.d; c++) {
    double sum = 0;
    for (std::int64_t j = 0; j < p.hc; j++) sum += pre[j] * streams[j * p.d + c];
    out[c] = static_cast<float>(sum);
  }
}

}  // namespace

void hcPre(const HcPreParams& p, int threads) {
  const std::int64_t hc = p.hc, count = (2 + hc) * hc, width = hc * p.d;
  const double* mix = mixes(p, count, threads);
  parallelFor(p.t, threads, grainOf(2 * width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; t++) {
      const double* m = mix + t * count;
      const float* streams = p.streams + t * width;
      const double factor = rmsFactor(streams, width, p.rmsNormEps);
      double pre[kMaxHc];
      hcPreWeights(p, m, factor, pre);
      hcTokenWeights(p, t, m, factor);
      collapse(p, streams, pre, p.collapsed + t * p.d);
    }
  });
}

void hcHead(const HcHeadParams& p, int threads) {
  const std::int64_t width = p.hc * p.d;
  const double* mix = mixes(p, p.hc, threads);
  parallelFor(p.t, threads, grainOf(2 * width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; t++) {
      const float* streams = p.streams + t * width;
      double pre[kMaxHc];
      hcPreWeights(p, mix + t * p.hc, rmsFactor(streams, width, p.rmsNormEps), pre);
      collapse(p, streams, pre, p.out + t * p.d);
    }
  });
}

void hcPost(const HcPostParams& p, int threads) {
  const std::int64_t hc = p.hc, d = p.d;
  constexpr std::int64_t kStrip = 64;  // elements handled together: old values are kept while new ones overwrite them
  const std::int64_t strips = (d + kStrip - 1) / kStrip;
  parallelFor(p.t * strips, threads, grainOf(kStrip * hc * (hc + 1)), [&](std::int64_t begin, std::int64_t end) {
    float old[kMaxHc][kStrip];
    for (std::int64_t i = begin; i < end; i++) {
      const std::int64_t t = i / strips, c0 = (i % strips) * kStrip, n = std::min(kStrip, d - c0);
      float* streams = p.streams + t * hc * d + c0;
      const float* block = p.blockOut + t * d + c0;
      const float* comb = p.comb + t * hc * hc;
      for (std::int64_t j = 0; j < hc; j++) std::copy(streams + j * d, streams + j * d + n, old[j]);
      for (std::int64_t k = 0; k < hc; k++) {
        float* out = streams + k * d;
        const double post = p.post[t * hc + k];
        double sum[kStrip];
        for (std::int64_t c = 0; c < n; c++) sum[c] = post * block[c];
        for (std::int64_t j = 0; j < hc; j++) {
          const double w = comb[j * hc + k];
          for (std::int64_t c = 0; c < n; c++) sum[c] += w * old[j][c];
        }
        for (std::int64_t c = 0; c < n; c++) out[c] = static_cast<float>(sum[c]);
      }
    }
  });
}

}  // namespace megamoe::gemm::generic
