// Row-wise operations for any vector width: SwiGLU, weighted scatter, sum, RMS norm. The same operations in the same
// order as the portable kernels, so the same bits; only SwiGLU has an exponential of its own.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "../kernel_table.h"
#include "sums.h"

namespace megamoe::gemm::simd {

// exp(y) within 1 ulp of float64 for -708 <= y <= 708; other values are moved to the nearer end, NaN gives anything.
template <class D>
static inline typename D::Reg expClamped(typename D::Reg y) {
  using Reg = typename D::Reg;
  y = D::max(D::splat(-708.0), D::min(D::splat(708.0), y));
  const Reg shifter = D::splat(0x1.8p52);  // adding it leaves a rounded integer in the low bits
  const Reg shifted = D::fma(y, D::splat(0x1.71547652b82fep0), shifter);
  const Reg n = D::sub(shifted, shifter);
  Reg r = D::fma(n, D::splat(-0x1.62e42fefa39efp-1), y);  // y - n*ln(2), ln(2) in two parts
  r = D::fma(n, D::splat(-0x1.abc9e3b39803fp-56), r);
  // Taylor's series: |r| <= ln(2)/2, so that the term after r^13/13! is below 2^-57.
  Reg sum = D::splat(1.0 / 6227020800.0);
  for (const double c : {1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0,
                         1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0})
    sum = D::fma(sum, r, D::splat(c));
  return D::scaleByPower(sum, shifted);
}

// silu(min(gate, limit)) * clamp(up, -limit, limit) of eight values. min and max give their second operand when one is
// NaN, so a NaN comes through.
template <class D>
static inline typename D::Reg swigluLanes(typename D::Reg gate, typename D::Reg up, double limit) {
  using Reg = typename D::Reg;
  const Reg g = D::min(D::splat(limit), gate);
  const Reg u = D::max(D::splat(-limit), D::min(D::splat(limit), up));
  const Reg y = D::sub(D::splat(0.0), g);
  const Reg e = D::replaceAbove(y, D::splat(708.0), expClamped<D>(y), D::splat(__builtin_inf()));
  return D::mul(D::div(g, D::add(D::splat(1.0), e)), u);
}

template <class D>
static inline void swigluRow(const float* gate, const float* up, std::int64_t n, float limit, float* out) {
  const std::int64_t whole = n - n % 8;
  for (std::int64_t c = 0; c < whole; c += 8)
    D::store(out + c, swigluLanes<D>(D::load(gate + c), D::load(up + c), limit));
  if (whole == n) return;
  float g[8] = {}, u[8] = {}, o[8];
  for (std::int64_t c = whole; c < n; c++) g[c - whole] = gate[c], u[c - whole] = up[c];
  D::store(o, swigluLanes<D>(D::load(g), D::load(u), limit));
  for (std::int64_t c = whole; c < n; c++) out[c] = o[c - whole];
}

template <class D>
static void swiglu(const SwigluParams& p, int threads) {
  constexpr std::int64_t kStrip = 1024;  // columns of one item, so that a single row is worth several threads too
  const std::int64_t strips = (p.i + kStrip - 1) / kStrip;
  auto range = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; b++) {
      const std::int64_t row = b / strips, c = b % strips * kStrip;
      const float* gate = p.gateUp + row * 2 * p.i + c;
      swigluRow<D>(gate, gate + p.i, least(kStrip, p.i - c), p.limit, p.out + row * p.i + c);
    }
  };
  eachRange(p.m * strips, threads, grainFor(kStrip * kExpWork), range);
}

template <class V>
static void scatterExperts(const ScatterParams& p, int threads) {
  constexpr std::int64_t kStrip = 1024;  // columns of one item, so that a single token is worth several threads too
  const std::int64_t strips = (p.d + kStrip - 1) / kStrip;
  auto range = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) {
      const std::int64_t t = i / strips, c1 = least((i % strips + 1) * kStrip, p.d);
      const std::int32_t* slots = p.tokenSlots + t * p.topk;
      const float* weights = p.topkWeights + t * p.topk;
      float* out = p.out + t * p.d;
      std::int64_t c = i % strips * kStrip;
      for (; c + V::kLanes <= c1; c += V::kLanes) {
        typename V::Reg sum = V::zero();
        for (std::int64_t j = 0; j < p.topk; j++)
          if (slots[j] >= 0) sum = V::add(sum, V::mul(V::splat(weights[j]), V::load(p.y + slots[j] * p.d + c)));
        V::store(out + c, sum);
      }
      for (; c < c1; c++) {
        float sum = 0;
        for (std::int64_t j = 0; j < p.topk; j++)
          if (slots[j] >= 0) sum += weights[j] * p.y[slots[j] * p.d + c];
        out[c] = sum;
      }
    }
  };
  eachRange(p.t * strips, threads, grainFor(least(p.d, kStrip) * p.topk * kCopyWork), range);
}

template <class V>
static void addInPlace(const AddParams& p, int threads) {
  auto range = [&](std::int64_t begin, std::int64_t end) {
    std::int64_t i = begin;
    for (; i + V::kLanes <= end; i += V::kLanes) V::store(p.out + i, V::add(V::load(p.out + i), V::load(p.x + i)));
    for (; i < end; i++) p.out[i] += p.x[i];
  };
  eachRange(p.n, threads, grainFor(kCopyWork), range);
}

// out[c] = x[c] * f * weight[c] for n columns.
template <class V>
static void scaleRow(const float* x, std::int64_t n, float f, const float* weight, float* out) {
  std::int64_t c = 0;
  for (; c + V::kLanes <= n; c += V::kLanes) {
    const typename V::Reg v = V::mul(V::load(x + c), V::splat(f));
    V::store(out + c, weight == nullptr ? v : V::mul(v, V::load(weight + c)));
  }
  for (; c < n; c++) out[c] = weight == nullptr ? x[c] * f : x[c] * f * weight[c];
}

// The rms factor of a row, while the row before it is written as above: the sum is one chain of additions, and the row
// may be in memory.
template <class V, class D>
static float scaleRowBefore(const float* x, const float* before, std::int64_t n, double eps, float f,
                            const float* weight, float* out) {
  static_assert(V::kLanes % 8 == 0, "sums are taken eight at a time");
  typename D::Reg squares = D::zero();
  std::int64_t c = 0;
  for (; c + V::kLanes <= n; c += V::kLanes) {
    for (int i = 0; i < V::kLanes; i += 8) {
      const typename D::Reg s = D::load(x + c + i);
      squares = D::fma(s, s, squares);
    }
    const typename V::Reg v = V::mul(V::load(before + c), V::splat(f));
    V::store(out + c, weight == nullptr ? v : V::mul(v, V::load(weight + c)));
  }
  scaleRow<V>(before + c, n - c, f, weight == nullptr ? nullptr : weight + c, out + c);
  for (; c + 8 <= n; c += 8) {
    const typename D::Reg s = D::load(x + c);
    squares = D::fma(s, s, squares);
  }
  return rmsFactorOf(finishSum<D>(squares, x, x, c, n), n, eps);
}

template <class V, class D>
static void rmsNorm(const RmsNormParams& p, int threads) {
  auto range = [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t d = p.d;
    float f = rmsFactor<D>(p.x + begin * d, d, p.eps);
    for (std::int64_t r = begin; r + 1 < end; r++)
      f = scaleRowBefore<V, D>(p.x + (r + 1) * d, p.x + r * d, d, p.eps, f, p.weight, p.out + r * d);
    scaleRow<V>(p.x + (end - 1) * d, d, f, p.weight, p.out + (end - 1) * d);
  };
  eachRange(p.m, threads, grainFor(p.d * kCopyWork), range);
}

// The entries of a table that are here.
template <class V, class D>
static void setRows(KernelTable& t) {
  t.swiglu = swiglu<D>;
  t.scatterExperts = scatterExperts<V>;
  t.addInPlace = addInPlace<V>;
  t.rmsNorm = rmsNorm<V, D>;
}

}  // namespace megamoe::gemm::simd
