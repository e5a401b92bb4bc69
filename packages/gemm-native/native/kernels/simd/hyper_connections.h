// Hyper-connections for any vector width: the passes over the streams in float64, with the bits of the portable
// kernels. What is made of the mixes of a token is in ../hyper_token.cc.
#pragma once

#include <cstdint>
#include <cstring>

#include "../hyper_token.h"
#include "../kernel_table.h"
#include "sums.h"

namespace megamoe::gemm::simd {

constexpr int kMixTile = 4;                // rows of fn in a tile
constexpr std::int64_t kMixTokens = 24;    // tokens of a group, which read fn from beyond the second-level cache once
constexpr std::int64_t kMixColumns = 256;  // columns that a group takes at a time

// fn as mixTile reads it, for columns [begin, end): [columns/8][4][8] of each tile. Rows of fn and streams of tokens
// lie a power of two apart, so that the same columns of more than a few of them do not stay in a cache. Missing rows
// repeat the last.
static void packMixes(const HyperParams& p, std::int64_t count, std::int64_t begin, std::int64_t end, float* out) {
  for (std::int64_t c0 = 0; c0 < count; c0 += kMixTile)
    for (std::int64_t i = begin; i < end; i += 8)
      for (std::int64_t c = c0; c < c0 + kMixTile; c++, out += 8)
        std::memcpy(out, p.fn + least(c, count - 1) * p.hc * p.d + i, 8 * sizeof(float));
}

// n columns, a multiple of 8, of R tokens as float64 [n/8][R][8]; their squares are added to lanes[r][8], `apart` from
// token to token.
template <class D, int R>
static void packStreams(const float* streams, std::int64_t width, std::int64_t n, double* out, double* lanes,
                        std::int64_t apart) {
  typename D::Reg squares[R];
  for (int r = 0; r < R; r++) squares[r] = D::load(lanes + r * apart);
  for (std::int64_t i = 0; i < n; i += 8)
    for (int r = 0; r < R; r++, out += 8) {
      const typename D::Reg v = D::load(streams + r * width + i);
      squares[r] = D::fma(v, v, squares[r]);
      D::store(out, v);
    }
  for (int r = 0; r < R; r++) D::store(lanes + r * apart, squares[r]);
}

// Adds their products with the four rows of a tile to lanes[r][4][8].
template <class D, int R>
static void mixTile(const double* x, const float* fn, std::int64_t n, double* lanes, std::int64_t apart) {
  typename D::Reg acc[R][kMixTile];
  for (int r = 0; r < R; r++)
    for (int c = 0; c < kMixTile; c++) acc[r][c] = D::load(lanes + r * apart + c * 8);
  for (std::int64_t i = 0; i < n; i += 8, x += R * 8, fn += kMixTile * 8) {
    typename D::Reg v[R];
    for (int r = 0; r < R; r++) v[r] = D::load(x + r * 8);
    for (int c = 0; c < kMixTile; c++) {
      const typename D::Reg w = D::load(fn + c * 8);
      for (int r = 0; r < R; r++) acc[r][c] = D::fma(w, v[r], acc[r][c]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int c = 0; c < kMixTile; c++) D::store(lanes + r * apart + c * 8, acc[r][c]);
}

// Columns of R tokens with all rows of fn. lanes: [R][tiles * 4 + 1][8], the squares last. `next` are the columns that
// R tokens will be asked for next: fetched on the way, because pieces as short as these are nothing that the processor
// foresees.
template <class D, int R>
static void mixTokens(const float* streams, const float* next, std::int64_t width, const float* fn, std::int64_t n,
                      std::int64_t tiles, double* lanes) {
  const std::int64_t apart = (tiles * kMixTile + 1) * 8;
  alignas(64) double x[kMixColumns * R];
  packStreams<D, R>(streams, width, n, x, lanes + apart - 8, apart);
  for (std::int64_t tile = 0; tile < tiles; tile++) {
    for (std::int64_t r = tile; r < R; r += tiles)
      for (std::int64_t i = 0; i < kMixColumns; i += 16) prefetch(next + r * width + i);
    mixTile<D, R>(x, fn + tile * kMixTile * n, n, lanes + tile * kMixTile * 8, apart);
  }
}

// use(t, mix, factor) for tokens [begin, end), with fn . streams of each, [count], and its rms factor, while its
// streams are in a cache.
template <class D, class Use>
static void mixMany(const HyperParams& p, std::int64_t count, const float* fn, std::int64_t begin, std::int64_t end,
                    Use&& use) {
  const std::int64_t width = p.hc * p.d, whole = width - width % 8, tiles = (count + kMixTile - 1) / kMixTile;
  const std::int64_t apart = (tiles * kMixTile + 1) * 8;
  double* lanes =
      static_cast<double*>(scratchBytes(Slot::rows, static_cast<std::size_t>(kMixTokens * apart) * sizeof(double)));
  for (std::int64_t t0 = begin; t0 < end; t0 += kMixTokens) {
    const std::int64_t t1 = least(t0 + kMixTokens, end);
    for (std::int64_t i = 0; i < (t1 - t0) * apart; i++) lanes[i] = 0;
    for (std::int64_t i = 0; i < whole; i += kMixColumns) {
      const std::int64_t n = least(kMixColumns, whole - i);
      const float* packed = fn + i * tiles * kMixTile;
      const std::int64_t ahead = i + n < whole ? n : kMixTokens * width - i;
      std::int64_t t = t0;
      const auto tokens = [&](auto mix, std::int64_t count) {
        for (; t + count <= t1; t += count) {
          const float* streams = p.streams + t * width + i;
          mix(streams, streams + ahead, width, packed, n, tiles, lanes + (t - t0) * apart);
        }
      };
      tokens(mixTokens<D, D::kMaxRows>, D::kMaxRows);
      tokens(mixTokens<D, 1>, 1);
    }
    for (std::int64_t t = t0; t < t1; t++) {
      const float* streams = p.streams + t * width;
      const double* at = lanes + (t - t0) * apart;
      double mix[(2 + kMaxHc) * kMaxHc];
      for (std::int64_t c = 0; c < count; c++)
        mix[c] = finishSum<D>(D::load(at + c * 8), p.fn + c * width, streams, whole, width);
      use(t, mix,
          rmsFactorOf(finishSum<D>(D::load(at + apart - 8), streams, streams, whole, width), width, p.rmsNormEps));
    }
  }
}

// The same for few tokens: threads share the rows of fn, each of which is read from end to end.
template <class D, class Use>
static void mixFew(const HyperParams& p, std::int64_t count, int threads, Use&& use) {
  double* mix = static_cast<double*>(scratchBytes(Slot::hyper, static_cast<std::size_t>(p.t * count) * sizeof(double)));
  const std::int64_t width = p.hc * p.d, whole = width - width % 8, tiles = (count + kMixTile - 1) / kMixTile;
  auto rows = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = 0; t < p.t; t++)
      for (std::int64_t tile = begin; tile < end; tile++) {
        const std::int64_t c0 = tile * kMixTile, n = least(count - c0, kMixTile);
        const float* streams = p.streams + t * width;
        const float* row[kMixTile];
        typename D::Reg acc[kMixTile];
        for (int c = 0; c < kMixTile; c++) row[c] = p.fn + (c0 + least(c, n - 1)) * width, acc[c] = D::zero();
        for (std::int64_t i = 0; i < whole; i += 8) {
          const typename D::Reg x = D::load(streams + i);
          for (int c = 0; c < kMixTile; c++) acc[c] = D::fma(D::load(row[c] + i), x, acc[c]);
        }
        for (std::int64_t c = 0; c < n; c++)
          mix[t * count + c0 + c] = finishSum<D>(acc[c], row[c], streams, whole, width);
      }
  };
  eachRange(tiles, threads, grainFor(width * kMixTile * p.t), rows);
  auto tokens = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; t++)
      use(t, mix + t * count, rmsFactor<D>(p.streams + t * width, width, p.rmsNormEps));
  };
  eachRange(p.t, threads, grainFor(2 * width), tokens);
}

template <class D, class Use>
static void mixed(const HyperParams& p, std::int64_t count, int threads, Use&& use) {
  if (p.t < 8 * threads) return mixFew<D>(p, count, threads, use);
  const std::int64_t width = p.hc * p.d, whole = width - width % 8,
                     padded = (count + kMixTile - 1) / kMixTile * kMixTile;
  float* fn = static_cast<float*>(scratchBytes(Slot::hyper, static_cast<std::size_t>(whole * padded) * sizeof(float)));
  auto pack = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * kMixColumns; i < end * kMixColumns; i += kMixColumns)
      packMixes(p, count, i, least(i + kMixColumns, whole), fn + i * padded);
  };
  eachRange((whole + kMixColumns - 1) / kMixColumns, threads, grainFor(kMixColumns * padded * kCopyWork), pack);
  auto range = [&](std::int64_t begin, std::int64_t end) { mixMany<D>(p, count, fn, begin, end, use); };
  eachRange(p.t, threads, grainFor(width * count), range);
}

// out[d] = sum_j pre[j] * streams[j, d], j ascending. pre is no float32: a multiplication and an addition, each
// rounded.
template <class D>
static inline void collapseStreams(std::int64_t hc, const float* streams, std::int64_t d, const double* pre,
                                   float* out) {
  std::int64_t c = 0;
  for (; c + 8 <= d; c += 8) {
    typename D::Reg sum = D::zero();
    for (std::int64_t j = 0; j < hc; j++) sum = D::add(sum, D::mul(D::splat(pre[j]), D::load(streams + j * d + c)));
    D::store(out + c, sum);
  }
  for (; c < d; c++) {
    double sum = 0;
    for (std::int64_t j = 0; j < hc; j++) sum += pre[j] * streams[j * d + c];
    out[c] = static_cast<float>(sum);
  }
}

template <class D>
static void collapse(const HyperParams& p, std::int64_t t, const double* pre, float* out) {
  const float* streams = p.streams + t * p.hc * p.d;
  if (p.hc == 4)
    collapseStreams<D>(4, streams, p.d, pre, out + t * p.d);  // the usual number as a constant: loops unrolled
  else
    collapseStreams<D>(p.hc, streams, p.d, pre, out + t * p.d);
}

template <class D>
static void hcPre(const HcPreParams& p, int threads) {
  mixed<D>(p, (2 + p.hc) * p.hc, threads, [&](std::int64_t t, const double* mix, double factor) {
    double pre[kMaxHc];
    hcPreWeights(p, mix, factor, pre);
    hcTokenWeights(p, t, mix, factor);
    collapse<D>(p, t, pre, p.collapsed);
  });
}

template <class D>
static void hcHead(const HcHeadParams& p, int threads) {
  mixed<D>(p, p.hc, threads, [&](std::int64_t t, const double* mix, double factor) {
    double pre[kMaxHc];
    hcPreWeights(p, mix, factor, pre);
    collapse<D>(p, t, pre, p.out);
  });
}

// Eight columns of one token: old values are kept while new ones overwrite them. Products of two float32 are exact, so
// FMA is too. factors: [hc][1 + hc], of stream k the block's, then those of the old streams.
template <class D>
static inline void postLanes(std::int64_t hc, const float* const* old, const float* block, const double* factors,
                             float* const* out) {
  typename D::Reg before[kMaxHc];
  for (std::int64_t j = 0; j < hc; j++) before[j] = D::load(old[j]);
  const typename D::Reg b = D::load(block);
  for (std::int64_t k = 0; k < hc; k++, factors += 1 + hc) {
    typename D::Reg sum = D::mul(D::splat(factors[0]), b);
    for (std::int64_t j = 0; j < hc; j++) sum = D::fma(D::splat(factors[1 + j]), before[j], sum);
    D::store(out[k], sum);
  }
}

// n columns of one token. Streams are `apart` from each other.
template <class D>
static inline void postColumns(std::int64_t hc, float* streams, std::int64_t apart, const float* block,
                               const double* factors, std::int64_t n) {
  float* at[kMaxHc];
  std::int64_t c = 0;
  for (; c + 8 <= n; c += 8) {
    for (std::int64_t j = 0; j < hc; j++) at[j] = streams + j * apart + c;
    postLanes<D>(hc, at, block + c, factors, at);
  }
  if (c == n) return;
  float copy[kMaxHc + 1][8] = {};
  for (std::int64_t j = 0; j <= hc; j++)
    for (std::int64_t l = 0; l < n - c; l++) copy[j][l] = j == hc ? block[c + l] : streams[j * apart + c + l];
  for (std::int64_t j = 0; j < hc; j++) at[j] = copy[j];
  postLanes<D>(hc, at, copy[hc], factors, at);
  for (std::int64_t j = 0; j < hc; j++)
    for (std::int64_t l = 0; l < n - c; l++) streams[j * apart + c + l] = copy[j][l];
}

template <class D>
static void hcPost(const HcPostParams& p, int threads) {
  constexpr std::int64_t kStrip = 256;  // columns of one item, so that a single token is worth several threads too
  const std::int64_t hc = p.hc, d = p.d, strips = (d + kStrip - 1) / kStrip;
  auto range = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) {
      const std::int64_t t = i / strips, c = i % strips * kStrip, n = least(kStrip, d - c);
      double factors[kMaxHc * (1 + kMaxHc)];
      for (std::int64_t k = 0; k < hc; k++) {
        factors[k * (1 + hc)] = p.post[t * hc + k];
        for (std::int64_t j = 0; j < hc; j++) factors[k * (1 + hc) + 1 + j] = p.comb[(t * hc + j) * hc + k];
      }
      float* streams = p.streams + t * hc * d + c;
      const float* block = p.blockOut + t * d + c;
      // The usual number as a constant: loops unrolled, factors in registers.
      if (hc == 4)
        postColumns<D>(4, streams, d, block, factors, n);
      else
        postColumns<D>(hc, streams, d, block, factors, n);
    }
  };
  eachRange(p.t * strips, threads, grainFor(kStrip * hc * (hc + 1)), range);
}

// The entries of a table that are here.
template <class D>
static void setHyperConnections(KernelTable& t) {
  t.hcPre = hcPre<D>;
  t.hcPost = hcPost<D>;
  t.hcHead = hcHead<D>;
}

}  // namespace megamoe::gemm::simd
