// Hyper-connections for any vector width: the passes over the streams in float64, with the bits of the portable kernels. What is made
// of the mixes of a token is in ../hyper_token.cc.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../hyper_token.h"
#include "sums.h"

namespace megamoe::gemm::simd {

constexpr int kMixTile = 4;  // rows of fn in a tile

// out[r*count + c] = streams[r] . fn[c] for R tokens and up to four rows of fn.
template <class D, int R>
static void mixTile(const float* streams, const float* fn, std::int64_t width, int rows, double* out, std::int64_t count) {
  typename D::Reg acc[R][kMixTile];
  for (int r = 0; r < R; r++)
    for (int c = 0; c < kMixTile; c++) acc[r][c] = D::zero();
  const float* row[kMixTile];
  for (int c = 0; c < kMixTile; c++) row[c] = fn + (c < rows ? c : rows - 1) * width;  // missing ones repeat the last
  const std::int64_t whole = width - width % 8;
  for (std::int64_t i = 0; i < whole; i += 8) {
    typename D::Reg x[R];
    for (int r = 0; r < R; r++) x[r] = D::load(streams + r * width + i);
    for (int c = 0; c < kMixTile; c++) {
      const typename D::Reg w = D::load(row[c] + i);
      for (int r = 0; r < R; r++) acc[r][c] = D::fma(w, x[r], acc[r][c]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int c = 0; c < rows; c++) out[r * count + c] = finishSum<D>(acc[r][c], row[c], streams + r * width, whole, width);
}

template <class D, int R>
static void mixRows(const HyperParams& p, std::int64_t t, std::int64_t begin, std::int64_t end, double* out, std::int64_t count) {
  const std::int64_t width = p.hc * p.d;
  for (std::int64_t c = begin; c < end; c += kMixTile)
    mixTile<D, R>(p.streams + t * width, p.fn + c * width, width, static_cast<int>(least(end - c, kMixTile)), out + t * count + c,
                  count);
}

// fn . streams for all tokens, [T, count], on the calling thread's scratch; the rms factor is applied by the readers. Few tokens split
// the rows of fn among threads, many split the tokens.
template <class D>
static const double* mixes(const HyperParams& p, std::int64_t count, int threads) {
  double* out = static_cast<double*>(scratchBytes(Slot::hyper, static_cast<std::size_t>(p.t * count) * sizeof(double)));
  const std::int64_t width = p.hc * p.d, tiles = (count + kMixTile - 1) / kMixTile;
  const bool byTokens = p.t >= 8 * threads;
  auto range = [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t t0 = byTokens ? begin : 0, t1 = byTokens ? end : p.t;
    const std::int64_t c0 = byTokens ? 0 : begin * kMixTile, c1 = byTokens ? count : least(end * kMixTile, count);
    std::int64_t t = t0;
    for (; t + D::kMaxRows <= t1; t += D::kMaxRows) mixRows<D, D::kMaxRows>(p, t, c0, c1, out, count);
    for (; t < t1; t++) mixRows<D, 1>(p, t, c0, c1, out, count);
  };
  if (byTokens)
    eachRange(p.t, threads, grainFor(width * count), range);
  else
    eachRange(tiles, threads, grainFor(width * kMixTile * p.t), range);
  return out;
}

// out[d] = sum_j pre[j] * streams[j, d], j ascending. pre is no float32: a multiplication and an addition, each rounded.
template <class D>
static void collapse(const HyperParams& p, const float* streams, const double* pre, float* out) {
  std::int64_t c = 0;
  for (; c + 8 <= p.d; c += 8) {
    typename D::Reg sum = D::zero();
    for (std::int64_t j = 0; j < p.hc; j++) sum = D::add(sum, D::mul(D::splat(pre[j]), D::load(streams + j * p.d + c)));
    D::store(out + c, sum);
  }
  for (; c < p.d; c++) {
    double sum = 0;
    for (std::int64_t j = 0; j < p.hc; j++) sum += pre[j] * streams[j * p.d + c];
    out[c] = static_cast<float>(sum);
  }
}

template <class D>
static void hcPre(const HcPreParams& p, int threads) {
  const std::int64_t count = (2 + p.hc) * p.hc, width = p.hc * p.d;
  const double* mix = mixes<D>(p, count, threads);
  auto range = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; t++) {
      const float* streams = p.streams + t * width;
      const double factor = rmsFactor<D>(streams, width, p.rmsNormEps);
      double pre[kMaxHc];
      hcPreWeights(p, mix + t * count, factor, pre);
      hcTokenWeights(p, t, mix + t * count, factor);
      collapse<D>(p, streams, pre, p.collapsed + t * p.d);
    }
  };
  eachRange(p.t, threads, grainFor(2 * width), range);
}

template <class D>
static void hcHead(const HcHeadParams& p, int threads) {
  const std::int64_t width = p.hc * p.d;
  const double* mix = mixes<D>(p, p.hc, threads);
  auto range = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; t++) {
      const float* streams = p.streams + t * width;
      double pre[kMaxHc];
      hcPreWeights(p, mix + t * p.hc, rmsFactor<D>(streams, width, p.rmsNormEps), pre);
      collapse<D>(p, streams, pre, p.out + t * p.d);
    }
  };
  eachRange(p.t, threads, grainFor(2 * width), range);
}

// Eight columns of one token: old values are kept while new ones overwrite them. Products of two float32 are exact, so FMA is too.
template <class D>
static inline void postLanes(std::int64_t hc, const float* const* old, const float* block, const float* post, const float* comb,
                             float* const* out) {
  typename D::Reg before[kMaxHc];
  for (std::int64_t j = 0; j < hc; j++) before[j] = D::load(old[j]);
  const typename D::Reg b = D::load(block);
  for (std::int64_t k = 0; k < hc; k++) {
    typename D::Reg sum = D::mul(D::splat(post[k]), b);
    for (std::int64_t j = 0; j < hc; j++) sum = D::fma(D::splat(comb[j * hc + k]), before[j], sum);
    D::store(out[k], sum);
  }
}

template <class D>
static void hcPost(const HcPostParams& p, int threads) {
  constexpr std::int64_t kStrip = 256;  // columns of one item, so that a single token is worth several threads too
  const std::int64_t hc = p.hc, d = p.d, strips = (d + kStrip - 1) / kStrip;
  auto range = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) {
      const std::int64_t t = i / strips, c1 = least((i % strips + 1) * kStrip, d);
      float* streams[kMaxHc];
      for (std::int64_t c = i % strips * kStrip; c < c1; c += 8) {
        const float* block = p.blockOut + t * d + c;
        for (std::int64_t j = 0; j < hc; j++) streams[j] = p.streams + (t * hc + j) * d + c;
        if (c + 8 <= c1) {
          postLanes<D>(hc, streams, block, p.post + t * hc, p.comb + t * hc * hc, streams);
          continue;
        }
        float copy[kMaxHc + 1][8] = {};
        float* copies[kMaxHc];
        for (std::int64_t j = 0; j <= hc; j++)
          for (std::int64_t l = 0; l < c1 - c; l++) copy[j][l] = j == hc ? block[l] : streams[j][l];
        for (std::int64_t j = 0; j < hc; j++) copies[j] = copy[j];
        postLanes<D>(hc, copies, copy[hc], p.post + t * hc, p.comb + t * hc * hc, copies);
        for (std::int64_t j = 0; j < hc; j++)
          for (std::int64_t l = 0; l < c1 - c; l++) streams[j][l] = copy[j][l];
      }
    }
  };
  eachRange(p.t * strips, threads, grainFor(kStrip * hc * (hc + 1)), range);
}

}  // namespace megamoe::gemm::simd
