// Manifold-constrained hyper-connections: residual streams are mixed before and after each block (FORMATS "Numerics" 10).
#include <megamoe/thread_pool.h>

#include <algorithm>
#include <cmath>

#include "../scratch.h"
#include "generic.h"

namespace megamoe::gemm::generic {

namespace {

float sigmoid(float x) { return 1.f / (1.f + std::exp(-x)); }

struct MixTag {};

// fn . streams for all tokens, [T, mixes], on the calling thread's scratch; the rms factor is applied by the readers.
const float* mixes(const HyperParams& p, std::int64_t count, int threads) {
  float* out = threadScratch<float, MixTag>(p.t * count);
  const std::int64_t width = p.hc * p.d;
  constexpr std::int64_t kRows = 4;  // rows of fn per item
  const std::int64_t items = (count + kRows - 1) / kRows;
  parallelFor(items, threads, grainOf(kRows * width * p.t), [&](std::int64_t begin, std::int64_t end) {
    denseBlock({p.fn, false, width, begin * kRows, std::min(count, end * kRows), p.streams, width, 0, p.t, out, count});
  });
  return out;
}

// Divides each line by (its sum + eps); lines start lineStride apart, their elements lie `step` apart.
void normalise(float* m, std::int64_t hc, std::int64_t lineStride, std::int64_t step, float eps) {
  for (std::int64_t line = 0; line < hc; line++) {
    float* at = m + line * lineStride;
    float sum = 0.f;
    for (std::int64_t i = 0; i < hc; i++) sum += at[i * step];
    sum += eps;
    for (std::int64_t i = 0; i < hc; i++) at[i * step] /= sum;
  }
}

// Softmax over k plus eps, one column normalisation, then iters-1 times rows and columns.
void sinkhorn(float* m, std::int64_t hc, int iters, float eps) {
  for (std::int64_t j = 0; j < hc; j++) {
    float* row = m + j * hc;
    const float most = *std::max_element(row, row + hc);
    float sum = 0.f;
    for (std::int64_t k = 0; k < hc; k++) sum += row[k] = std::exp(row[k] - most);
    for (std::int64_t k = 0; k < hc; k++) row[k] = row[k] / sum + eps;
  }
  for (int i = 0; i < iters; i++) {
    if (i > 0) normalise(m, hc, hc, 1, eps);
    normalise(m, hc, 1, hc, eps);
  }
}

// pre[j] of one token from its mixes.
void preWeights(const HyperParams& p, const float* mix, float factor, float* pre) {
  for (std::int64_t j = 0; j < p.hc; j++)
    pre[j] = sigmoid(mix[j] * factor * p.scale[0] + p.base[j]) + static_cast<float>(p.hcEps);
}

// out[d] = sum_j pre[j] * streams[j, d], j ascending.
void collapse(const HyperParams& p, const float* streams, const float* pre, float* out) {
  for (std::int64_t c = 0; c < p.d; c++) out[c] = pre[0] * streams[c];
  for (std::int64_t j = 1; j < p.hc; j++)
    for (std::int64_t c = 0; c < p.d; c++) out[c] += pre[j] * streams[j * p.d + c];
}

}  // namespace

void hcPre(const HcPreParams& p, int threads) {
  const std::int64_t hc = p.hc, count = (2 + hc) * hc, width = hc * p.d;
  const float* mix = mixes(p, count, threads);
  parallelFor(p.t, threads, grainOf(2 * width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; t++) {
      const float* m = mix + t * count;
      const float* streams = p.streams + t * width;
      const float factor = rmsFactor(streams, width, p.rmsNormEps);
      float pre[kMaxHc];
      preWeights(p, m, factor, pre);
      for (std::int64_t j = 0; j < hc; j++)
        p.post[t * hc + j] = 2.f * sigmoid(m[hc + j] * factor * p.scale[1] + p.base[hc + j]);
      float* comb = p.comb + t * hc * hc;
      for (std::int64_t j = 0; j < hc * hc; j++) comb[j] = m[2 * hc + j] * factor * p.scale[2] + p.base[2 * hc + j];
      sinkhorn(comb, hc, p.iters, static_cast<float>(p.hcEps));
      collapse(p, streams, pre, p.collapsed + t * p.d);
    }
  });
}

void hcHead(const HcHeadParams& p, int threads) {
  const std::int64_t width = p.hc * p.d;
  const float* mix = mixes(p, p.hc, threads);
  parallelFor(p.t, threads, grainOf(2 * width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; t++) {
      const float* streams = p.streams + t * width;
      float pre[kMaxHc];
      preWeights(p, mix + t * p.hc, rmsFactor(streams, width, p.rmsNormEps), pre);
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
        const float post = p.post[t * hc + k];
        for (std::int64_t c = 0; c < n; c++) out[c] = post * block[c];
        for (std::int64_t j = 0; j < hc; j++) {
          const float w = comb[j * hc + k];
          for (std::int64_t c = 0; c < n; c++) out[c] += w * old[j][c];
        }
      }
    }
  });
}

}  // namespace megamoe::gemm::generic
