// Building blocks with a fixed order of operations, the order that the other instruction sets are held to: no
// contraction, no reassociation, 16 partial sums and a fixed tree.
#pragma once

#include <cstdint>
#include <cstring>

namespace megamoe::attention::generic {

constexpr std::int64_t kLanes = 16;

// Lane l holds the products of elements l, l+16, l+32, ... in ascending order; then halves are added until one is left.
static inline float reduceLanes(const float* s) {
  float a[8], b[4];
  for (int l = 0; l < 8; l++) a[l] = s[l] + s[l + 8];
  for (int l = 0; l < 4; l++) b[l] = a[l] + a[l + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}

static inline float dot(const float* x, const float* y, std::int64_t n) {
  float s[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; l++) s[l] += x[i + l] * y[i + l];
  }
  for (std::int64_t l = 0; i + l < n; l++) s[l] += x[i + l] * y[i + l];
  return reduceLanes(s);
}

// exp(x) for x <= 0, at most 2 ulp; 0 below -87 (1.6e-38), NaN for NaN. Not std::exp: that differs between C libraries
// and does not vectorize. Cephes' polynomial on |r| <= ln(2)/2 after splitting off a power of two.
static inline float expNonPositive(float x) {
  const float low = -87.0f;
  const float c = x < low ? low : x;
  // 1.5 * 2^23: the sum is rounded to an integer, held in the low bits.
  const float shifted = c * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  float r = c - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float y = (p * (r * r) + r) + 1.0f;
  std::uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127u) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  const float e = y * power;
  return x < low ? 0.0f : e;
}

// y[i] += w0 * a[i], then w1 * b[i], w2 * c[i], w3 * d[i].
static inline void addFour(float* y, const float* a, const float* b, const float* c, const float* d, const float* w,
                           std::int64_t n) {
  const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
  for (std::int64_t i = 0; i < n; i++) y[i] = (((y[i] + w0 * a[i]) + w1 * b[i]) + w2 * c[i]) + w3 * d[i];
}

static inline void addOne(float* y, const float* a, float w, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i++) y[i] = y[i] + w * a[i];
}

}  // namespace megamoe::attention::generic
