// Dense products of float32 rows with BF16, FP8 or float32 weights, for any vector width.
//
// One result is, per chunk of k: kLanes partial sums by FMA (lane = k mod kLanes), a fixed tree over them, and the chunks added in
// ascending k. For FP8 the partial sums of every 128 k are multiplied by the tile's scale and added, by another FMA. Nothing in that
// depends on how many rows or columns share a tile, so a row's bits are its own.
//
// An E4M3 code becomes a float32 by moving its bits: sign to sign, exponent and mantissa to the low end of the exponent and the high end of
// the mantissa. That is its value times 2^-120, subnormals included. Activations are multiplied by 2^60 when they are copied and results
// by 2^60 at the end, so that products stay normal: of activations below 2^67 all that is above 2^-66 counts.
//
// A tile is up to V::kMaxRows rows of x by one panel of 4 weight rows, decoded as it is read. The rows of x are copied together first: where
// they lie, 4 KiB multiples apart, they share the sets of the first cache. So few rows read the weights once, in one stream; more rows
// pass over a block of weights that stays in the second-level cache.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../params.h"
#include "ranges.h"

namespace megamoe::gemm::simd {

// out[r, n] = x[r] . w[n] for rows [r0, r1) and weight rows [n0, n1); n0 begins a panel.
struct DenseBlock {
  const Weight* w;  // f32, bf16 or fp8
  std::int64_t matrix, n0, n1;
  const float* x;
  std::int64_t xStride, r0, r1;
  float* out;
  std::int64_t outStride;
};

constexpr std::int64_t kChunk = kDenseChunk;  // k in one chunk; part of the promise about bits
constexpr std::int64_t kBlockPanels = 64;  // panels that all rows pass over: 512 KB of BF16, 256 KB of FP8
constexpr std::int64_t kAhead = 32768;     // bytes from a use of weights to the lines that are asked for
constexpr int kColumns = static_cast<int>(kDenseRows);

constexpr float kFp8Scale = 0x1p60f;  // of activations, and of results

// How a line of weights becomes float32 lanes: a register of T values is read and gives kParts vectors. BF16 splits a register
// into its even and odd values, which is a shift and a mask; FP8 takes whatever bytes the instruction set finds easy. order() brings as many
// vectors of x into the same order.
template <class V, class T>
struct Decode;

template <class V>
struct Decode<V, float> {
  static constexpr int kParts = 1;
  using Raw = typename V::Reg;
  static Raw load(const float* w) { return V::load(w); }
  static typename V::Reg part(Raw raw, int) { return raw; }
  static void order(typename V::Reg (&)[1]) {}
};

template <class V>
struct Decode<V, std::uint16_t> {
  static constexpr int kParts = 2;
  using Raw = typename V::Bits;
  static Raw load(const std::uint16_t* w) { return V::loadBits(w); }
  static typename V::Reg part(Raw raw, int odd) { return odd == 0 ? V::lowHalves(raw) : V::highHalves(raw); }
  static void order(typename V::Reg (&v)[2]) {
    const typename V::Reg evens = V::evens(v[0], v[1]);
    v[1] = V::odds(v[0], v[1]), v[0] = evens;
  }
};

template <class V>
struct Decode<V, std::uint8_t> {
  static constexpr int kParts = V::kFp8Parts;
  using Raw = typename V::Fp8;
  static Raw load(const std::uint8_t* w) { return V::loadFp8(w); }
  static typename V::Reg part(Raw raw, int i) { return V::fp8Part(raw, i); }
  static void order(typename V::Reg (&v)[kParts]) {
    V::orderFp8(v);
    for (auto& reg : v) reg = V::mul(reg, V::splat(kFp8Scale));
  }
};

// Rows [0, R) of x, k values each, copied together as [steps][R][kLanes] in the order of Decode, with zeros up to a whole line.
template <class V, int R, class T>
static void packRows(const float* x, std::int64_t stride, std::int64_t k, float* out) {
  constexpr int kLine = static_cast<int>(kDenseLine / sizeof(T)), kParts = Decode<V, T>::kParts, kStep = kParts * V::kLanes;
  for (int r = 0; r < R; r++) {
    const float* row = x + r * stride;
    float* o = out + r * V::kLanes;
    for (std::int64_t i = 0; i < k; i += kLine)
      for (int s = 0; s < kLine; s += kStep, o += kParts * R * V::kLanes) {
        typename V::Reg v[kParts];
        for (int part = 0; part < kParts; part++) {
          const std::int64_t left = k - i - s - part * V::kLanes;
          const float* from = row + i + s + part * V::kLanes;
          v[part] = left >= V::kLanes ? V::load(from) : left > 0 ? V::loadFirst(from, static_cast<int>(left)) : V::zero();
        }
        Decode<V, T>::order(v);
        for (int part = 0; part < kParts; part++) V::store(o + part * R * V::kLanes, v[part]);
      }
  }
}

// Two lines (or the last one) of a panel times x, added to acc. Ahead: lines that are used later are asked for meanwhile.
template <class V, int R, int Lines, bool Ahead, class T>
static inline void addLines(const float* x, const T* w, typename V::Reg (&acc)[R][kColumns]) {
  using D = Decode<V, T>;
  constexpr int kLine = static_cast<int>(kDenseLine / sizeof(T)), kStep = D::kParts * V::kLanes;
#pragma GCC unroll 2
  for (int line = 0; line < Lines; line++, w += kColumns * kLine)
#pragma GCC unroll 2
    for (int s = 0; s < kLine; s += kStep) {
      typename D::Raw raw[kColumns];
      for (int c = 0; c < kColumns; c++) raw[c] = D::load(w + c * kLine + s);
#pragma GCC unroll 4
      for (int part = 0; part < D::kParts; part++, x += R * V::kLanes) {
        typename V::Reg xv[R];
        for (int r = 0; r < R; r++) xv[r] = V::load(x + r * V::kLanes);
        for (int c = 0; c < kColumns; c++) {
          if (Ahead && part == 0 && s == 0) prefetch(w + c * kLine + kAhead / static_cast<std::int64_t>(sizeof(T)));
          const typename V::Reg wv = D::part(raw[c], part);
          for (int r = 0; r < R; r++) acc[r][c] = V::fma(xv[r], wv, acc[r][c]);
        }
      }
    }
}

// The product of a chunk of k with a panel: acc[r][c], to be added up over lanes. x: packRows; w: the panel's lines.
template <class V, int R, bool IsCold, class T>
static inline void sumChunk(const float* x, const T* w, std::int64_t k, typename V::Reg (&acc)[R][kColumns]) {
  constexpr int kLine = static_cast<int>(kDenseLine / sizeof(T));
  for (int r = 0; r < R; r++)
    for (int c = 0; c < kColumns; c++) acc[r][c] = V::zero();
  std::int64_t lines = (k + kLine - 1) / kLine;
  for (; lines >= 2; lines -= 2, x += 2 * R * kLine, w += 2 * kColumns * kLine)
    addLines<V, R, 2, IsCold && (R > 2)>(x, w, acc);
  if (lines > 0) addLines<V, R, 1, false>(x, w, acc);
}

// The same for FP8: two lines are one tile of 128 k. scales: eight for each of the four rows.
template <class V, int R, bool IsCold>
static inline void sumFp8Chunk(const float* x, const float* scales, std::int64_t k, typename V::Reg (&acc)[R][kColumns]) {
  constexpr int kLine = static_cast<int>(kDenseLine), kTile = static_cast<int>(kFp8Tile);
  const std::uint8_t* w = reinterpret_cast<const std::uint8_t*>(scales + kColumns * kFp8Scales);
  for (int r = 0; r < R; r++)
    for (int c = 0; c < kColumns; c++) acc[r][c] = V::zero();
  for (std::int64_t left = k; left > 0; left -= kTile, x += R * kTile, w += kColumns * kTile, scales++) {
    typename V::Reg sum[R][kColumns];
    for (int r = 0; r < R; r++)
      for (int c = 0; c < kColumns; c++) sum[r][c] = V::zero();
    if (left > kLine)
      addLines<V, R, 2, IsCold && (R > 2)>(x, w, sum);
    else
      addLines<V, R, 1, false>(x, w, sum);
    for (int c = 0; c < kColumns; c++) {
      const typename V::Reg scale = V::splat(scales[c * kFp8Scales]);
      for (int r = 0; r < R; r++) acc[r][c] = V::fma(sum[r][c], scale, acc[r][c]);
    }
  }
}

// Adds the sums of one chunk of k to (or, for the first, writes them to) out[R][columns]. x: packRows; panel: densePanel.
// IsCold: the weights come from memory. For one or two rows the processor's own prefetching keeps up with them; with more arithmetic in
// between it falls behind (0.6 of read bandwidth for four rows instead of 0.8).
template <class V, int R, bool IsCold, class T>
static inline void tile(const float* x, const std::uint8_t* panel, std::int64_t k, bool isFirst, float* out, std::int64_t outStride,
                        int columns) {
  typename V::Reg acc[R][kColumns];
  constexpr bool kIsFp8 = sizeof(T) == 1;
  if constexpr (kIsFp8)
    sumFp8Chunk<V, R, IsCold>(x, reinterpret_cast<const float*>(panel), k, acc);
  else
    sumChunk<V, R, IsCold>(x, reinterpret_cast<const T*>(panel), k, acc);
  for (int r = 0; r < R; r++) {
    float sums[kColumns];
    V::sums(acc[r][0], acc[r][1], acc[r][2], acc[r][3], sums);
    float* o = out + r * outStride;
    for (int c = 0; c < columns; c++) {
      const float sum = kIsFp8 ? sums[c] * kFp8Scale : sums[c];
      o[c] = isFirst ? sum : o[c] + sum;
    }
  }
}

// Rows [r, r + R) against panels [n, end) in k [k0, k0 + k); x: packRows of that.
template <class V, int R, bool IsCold, class T>
static void panels(const DenseBlock& b, const float* x, std::int64_t r, std::int64_t n, std::int64_t end, std::int64_t k0,
                   std::int64_t k) {
  for (; n < end; n += kColumns)
    tile<V, R, IsCold, T>(x, b.w->densePanel(b.matrix, n, k0), k, k0 == 0,
                       b.out + r * b.outStride + n, b.outStride, static_cast<int>(least(end - n, kColumns)));
}

// Few rows: one stream through the weights, chunk by chunk.
template <class V, int R, class T>
static void fewRows(const DenseBlock& b, std::int64_t r) {
  constexpr std::int64_t kLine = kDenseLine / static_cast<std::int64_t>(sizeof(T));
  const std::int64_t k = b.w->k;
  float* const x = static_cast<float*>(scratchBytes(Slot::rows, static_cast<std::size_t>((k + kLine) * R) * sizeof(float)));
  for (std::int64_t k0 = 0; k0 < k; k0 += kChunk)
    packRows<V, R, T>(b.x + r * b.xStride + k0, b.xStride, least(k - k0, kChunk), x + k0 * R);
  for (std::int64_t k0 = 0; k0 < k; k0 += kChunk)
    panels<V, R, true, T>(b, x + k0 * R, r, b.n0, b.n1, k0, least(k - k0, kChunk));
}

// fn(R) with R = count as a constant, 1 <= count <= Max.
template <int Max, class F>
static void withRows(std::int64_t count, const F& fn) {
  if constexpr (Max > 1)
    if (count < Max) return withRows<Max - 1>(count, fn);
  fn(std::integral_constant<int, Max>());
}

constexpr std::int64_t kXLines = 2;  // lines of each row that are asked for during one panel

// Asks for a part of the rows that come next.
template <int R>
static void prefetchRows(const DenseBlock& b, std::int64_t r, std::int64_t k) {
  for (int i = 0; i < R; i++)
    for (int l = 0; l < kXLines; l++)
      prefetch(b.x + least(r + i, b.r1 - 1) * b.xStride + k + 16 * l);
}

// Rows in a tile: for FP8 there are two sets of sums.
template <class V, class T>
constexpr int kTileRows = sizeof(T) == 1 ? V::kFp8Rows : V::kMaxRows;

template <class V, class T>
static void manyRows(const DenseBlock& b) {
  constexpr int kMost = kTileRows<V, T>;
  float* const x = static_cast<float*>(scratchBytes(Slot::rows, kMost * kChunk * sizeof(float)));
  for (std::int64_t n = b.n0; n < b.n1; n += kBlockPanels * kColumns) {
    const std::int64_t end = least(b.n1, n + kBlockPanels * kColumns);
    for (std::int64_t k0 = 0; k0 < b.w->k; k0 += kChunk) {
      const std::int64_t k = least(b.w->k - k0, kChunk);
      for (std::int64_t r = b.r0; r < b.r1; r += kMost)
        withRows<kMost>(least(b.r1 - r, kMost), [&](auto rows) {
          constexpr int R = decltype(rows)::value;
          packRows<V, R, T>(b.x + r * b.xStride + k0, b.xStride, k, x);
          if (r == b.r0) return panels<V, R, true, T>(b, x, r, n, end, k0, k);
          std::int64_t at = 0;
          for (std::int64_t panel = n; panel < end; panel += kColumns, at += 16 * kXLines) {
            if (r + R < b.r1 && at < k) prefetchRows<R>(b, r + R, k0 + at);
            panels<V, R, false, T>(b, x, r, panel, least(end, panel + kColumns), k0, k);
          }
        });
    }
  }
}

template <class V, class T>
static void blockOf(const DenseBlock& b) {
  constexpr int kMost = kTileRows<V, T>;
  if (b.r1 <= b.r0 || b.n1 <= b.n0) return;
  if (b.r1 - b.r0 > kMost) return manyRows<V, T>(b);
  withRows<kMost>(b.r1 - b.r0, [&](auto rows) { fewRows<V, decltype(rows)::value, T>(b, b.r0); });
}

template <class V>
static void denseBlock(const DenseBlock& b) {
  if (b.w->format == Format::bf16)
    blockOf<V, std::uint16_t>(b);
  else if (b.w->format == Format::fp8)
    blockOf<V, std::uint8_t>(b);
  else
    blockOf<V, float>(b);
}

template <class V>
static void linear(const LinearParams& p, int threads) {
  const Weight& w = *p.w;
  const std::int64_t groups = w.matrices, tiles = (w.n + kColumns - 1) / kColumns;
  auto range = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end;) {
      const std::int64_t g = i / tiles, next = least(end, (g + 1) * tiles);
      denseBlock<V>({&w, g, (i - g * tiles) * kColumns, least(w.n, (next - g * tiles) * kColumns), p.x + g * w.k, groups * w.k, 0,
                     p.m, p.out + g * w.n, groups * w.n});
      i = next;
    }
  };
  eachRange(groups * tiles, threads, grainFor(p.m * kColumns * w.k), range);
}

// groupedDense. Threads split the columns and walk all experts, so that their work is equal however tokens fall.
template <class V>
static void groupedDense(const GroupedA16Params& p, int threads) {
  const Weight& w = *p.w;
  const std::int64_t tiles = (w.n + kColumns - 1) / kColumns, rows = p.expertOffsets[w.matrices - 1];
  auto range = [&](std::int64_t begin, std::int64_t end) {
    std::int64_t start = 0;
    for (std::int64_t e = 0; e < w.matrices; e++) {
      const std::int64_t stop = p.expertOffsets[e];
      denseBlock<V>({&w, e, begin * kColumns, least(w.n, end * kColumns), p.a, w.k, start, stop, p.out, w.n});
      start = stop;
    }
  };
  eachRange(tiles, threads, grainFor(rows * kColumns * w.k), range);
}

}  // namespace megamoe::gemm::simd
