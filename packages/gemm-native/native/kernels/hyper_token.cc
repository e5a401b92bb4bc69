#include "hyper_token.h"

#include <algorithm>
#include <cmath>

namespace megamoe::gemm {

namespace {

// The streams carry every layer's rounding to the logits, and their mixing is a handful of numbers per token: it is
// done in double and rounded once.
double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Divides each line by (its sum + eps); lines start lineStride apart, their elements lie `step` apart.
void normalise(double* m, std::int64_t hc, std::int64_t lineStride, std::int64_t step, double eps) {
  for (std::int64_t line = 0; line < hc; line++) {
    double* at = m + line * lineStride;
    double sum = eps;
    for (std::int64_t i = 0; i < hc; i++) sum += at[i * step];
    for (std::int64_t i = 0; i < hc; i++) at[i * step] /= sum;
  }
}

// Softmax over k plus eps, one column normalisation, then iters-1 times rows and columns.
void sinkhorn(double* m, std::int64_t hc, int iters, double eps) {
  for (std::int64_t j = 0; j < hc; j++) {
    double* row = m + j * hc;
    const double most = *std::max_element(row, row + hc);
    double sum = 0;
    for (std::int64_t k = 0; k < hc; k++) sum += row[k] = std::exp(row[k] - most);
    for (std::int64_t k = 0; k < hc; k++) row[k] = row[k] / sum + eps;
  }
  for (int i = 0; i < iters; i++) {
    if (i > 0) normalise(m, hc, hc, 1, eps);
    normalise(m, hc, 1, hc, eps);
  }
}

}  // namespace

void hcPreWeights(const HyperParams& p, const double* mix, double factor, double* pre) {
  for (std::int64_t j = 0; j < p.hc; j++) pre[j] = sigmoid(mix[j] * factor * p.scale[0] + p.base[j]) + p.hcEps;
}

void hcTokenWeights(const HcPreParams& p, std::int64_t t, const double* mix, double factor) {
  const std::int64_t hc = p.hc;
  for (std::int64_t j = 0; j < hc; j++)
    p.post[t * hc + j] = static_cast<float>(2 * sigmoid(mix[hc + j] * factor * p.scale[1] + p.base[hc + j]));
  double comb[kMaxHc * kMaxHc];
  for (std::int64_t j = 0; j < hc * hc; j++) comb[j] = mix[2 * hc + j] * factor * p.scale[2] + p.base[2 * hc + j];
  sinkhorn(comb, hc, p.iters, p.hcEps);
  for (std::int64_t j = 0; j < hc * hc; j++) p.comb[t * hc * hc + j] = static_cast<float>(comb[j]);
}

}  // namespace megamoe::gemm
