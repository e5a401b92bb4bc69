// How much of the probability stands before a token. The same bits on every instruction set and in TypeScript
// (src/js/mass.ts): float32 exponentials by one polynomial, sixteen sums in float64. Every instruction set compiles
// this for itself; the compiler makes vectors of the loops over a piece.
#pragma once

#include <cstdint>
#include <cstring>

namespace megamoe::gemm {

constexpr std::int64_t kMassPiece = 64;  // tokens looked at together
constexpr std::int64_t kMassLanes = 16;  // token i goes into sum i % 16

// weights[i] = exp(scaled[i] - most) for scaled[i] <= most, nothing less than exp(-83), within 5e-6 of it down to
// exp(-20): 2^k times a polynomial on [-0.5, 0.5].
static inline void massWeights(const float* scaled, float most, float* weights) {
  constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147182f;
  constexpr std::int32_t kFarthest = 0x42a60000;  // the bits of 83: numbers from 0 on sort as their bits do
  float gaps[kMassPiece], power[kMassPiece];
  std::int32_t bits[kMassPiece];
  for (std::int64_t i = 0; i < kMassPiece; i++) gaps[i] = most - scaled[i];
  std::memcpy(bits, gaps, sizeof bits);
  for (std::int64_t i = 0; i < kMassPiece; i++) bits[i] = bits[i] < kFarthest ? bits[i] : kFarthest;
  std::memcpy(gaps, bits, sizeof bits);
  for (std::int64_t i = 0; i < kMassPiece; i++) {
    const float t = gaps[i] * -kLog2E;
    const std::int32_t k = static_cast<std::int32_t>(t - 0.5f);
    const float g = (t - static_cast<float>(k)) * kLn2;
    weights[i] = 1.f + g * (1.f + g * (0.5f + g * (1.f / 6 + g * (1.f / 24 + g * (1.f / 120 + g * (1.f / 720))))));
    bits[i] = (k + 127) << 23;
  }
  std::memcpy(power, bits, sizeof power);
  for (std::int64_t i = 0; i < kMassPiece; i++) weights[i] *= power[i];
}

// weights[i] = 0 where scaled[i] < floor, by the sign of the difference: no branches. floor is finite.
static inline void dropBelow(const float* scaled, float floor, float* weights) {
  float above[kMassPiece];
  std::int32_t signs[kMassPiece], bits[kMassPiece];
  for (std::int64_t i = 0; i < kMassPiece; i++) above[i] = scaled[i] - floor;
  std::memcpy(signs, above, sizeof signs);
  std::memcpy(bits, weights, sizeof bits);
  for (std::int64_t i = 0; i < kMassPiece; i++) bits[i] &= ~(signs[i] >> 31);
  std::memcpy(weights, bits, sizeof bits);
}

static inline void addMass(const float* weights, double* sums) {
  for (std::int64_t i = 0; i < kMassPiece; i += kMassLanes)
    for (std::int64_t l = 0; l < kMassLanes; l++) sums[l] += static_cast<double>(weights[i + l]);
}

// `best`: what argmax says.
static inline double massBefore(const float* x, std::int64_t n, std::int64_t best, float temperature, std::int64_t id) {
  if (best < 0) return -1;
  constexpr float kLeast = -3.402823466e+38f;  // what is masked stands before nothing
  const float most = x[best] / temperature, scaledId = x[id] / temperature;
  const float floor = scaledId > kLeast ? scaledId : kLeast;
  if (!(most - most == 0)) return -1;  // NaN for both infinities
  double all[kMassLanes] = {}, before[kMassLanes] = {}, own = 0;
  float scaled[kMassPiece] = {}, weights[kMassPiece];
  for (std::int64_t at = 0; at < n; at += kMassPiece) {
    const std::int64_t size = n - at < kMassPiece ? n - at : kMassPiece;
    for (std::int64_t i = 0; i < size; i++) scaled[i] = x[at + i] / temperature;
    massWeights(scaled, most, weights);
    for (std::int64_t i = size; i < kMassPiece; i++) weights[i] = 0.f;
    addMass(weights, all);
    if (id >= at && id < at + size) own = static_cast<double>(weights[id - at]);
    dropBelow(scaled, floor, weights);
    addMass(weights, before);
  }
  double total = 0, share = 0;
  for (std::int64_t l = 0; l < kMassLanes; l++) {
    total += all[l];
    share += before[l];
  }
  return (share - own) / total;
}

}  // namespace megamoe::gemm
