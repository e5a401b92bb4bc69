// Dense products of float32 rows with BF16, FP8 or float32 weights, for any vector width.
//
// One result is, per chunk of k: kLanes partial sums by FMA (lane = k mod kLanes), a fixed tree over them, and the
// chunks added in ascending k. For FP8 the partial sums of every 128 k are multiplied by the tile's scale and added, by
// another FMA. Nothing in that depends on how many rows or columns share a tile, so a row's bits are its own.
//
// An E4M3 code becomes a float32 by moving its bits: sign to sign, exponent and mantissa to the low end of the exponent
// and the high end of the mantissa. That is its value times 2^-120, subnormals included. Activations are multiplied by
// 2^60 when they are copied and results by 2^60 at the end, so that products stay normal: of activations below 2^67 all
// that is above 2^-66 counts.
//
// A tile is up to V::kMaxRows rows of x by one panel of 4 weight rows, decoded as it is read. The rows of x are copied
// together first: where they lie, 4 KiB multiples apart, they share the sets of the first cache. So few rows read the
// weights once, in one stream; more rows pass over a block of weights that stays in the second-level cache.
//
// Where V has kPairs, rows are rounded to BF16 (nvfp4/bf16_rule.h) while they are copied, and a lane adds two
// neighbours of k at a time to its sum, as vdpbf16ps does. FP8 codes become BF16, which holds them exactly; many rows
// do that once for a block.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../kernel_table.h"
#include "../rounded.h"
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

constexpr std::int64_t kChunk = kDenseChunk;      // k in one chunk; part of the promise about bits
constexpr std::int64_t kPackedBytes = 384 << 10;  // of rows that are copied together
constexpr std::int64_t kPanelBytes = 16 << 10;    // of panels that all of them pass over
constexpr std::int64_t kAhead = 32768;            // bytes from a use of weights to the lines that are asked for
constexpr int kColumns = static_cast<int>(kDenseRows);

constexpr float kFp8Scale = 0x1p60f;  // of activations, and of results

// How a line of weights becomes float32 lanes: a register of T values is read and gives kParts vectors. BF16 splits a
// register into its even and odd values, which is a shift and a mask; FP8 takes whatever bytes the instruction set
// finds easy. order() brings as many vectors of x into the same order. Values of k that a lane takes at a time are
// kValues; kScale is what is missing in the product.
template <class V, class T, bool Pairs = V::kPairs>
struct Decode;

template <class V>
struct Floats {
  static constexpr int kValues = 1;
  static constexpr float kScale = 1.f;
  static typename V::Reg add(typename V::Reg x, typename V::Reg w, typename V::Reg sum) { return V::fma(x, w, sum); }
};

template <class V>
struct Decode<V, float, false> : Floats<V> {
  static constexpr int kParts = 1;
  using Raw = typename V::Reg;
  static Raw load(const float* w) { return V::load(w); }
  static typename V::Reg part(Raw raw, int) { return raw; }
  static void order(typename V::Reg (&)[1]) {}
};

template <class V>
struct Decode<V, std::uint16_t, false> : Floats<V> {
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
struct Decode<V, std::uint8_t, false> : Floats<V> {
  static constexpr int kParts = V::kFp8Parts;
  static constexpr float kScale = kFp8Scale;
  using Raw = typename V::Fp8;
  static Raw load(const std::uint8_t* w) { return V::loadFp8(w); }
  static typename V::Reg part(Raw raw, int i) { return V::fp8Part(raw, i); }
  static void order(typename V::Reg (&v)[kParts]) {
    V::orderFp8(v);
    for (auto& reg : v) reg = V::mul(reg, V::splat(kFp8Scale));
  }
};

template <class V>
struct PairsOf {
  static constexpr int kValues = 2;
  static constexpr float kScale = 1.f;
  static typename V::Reg add(typename V::Reg x, typename V::Bits w, typename V::Reg sum) {
    return V::addPairs(x, w, sum);
  }
};

template <class V>
struct Decode<V, std::uint16_t, true> : PairsOf<V> {
  static constexpr int kParts = 1;
  using Raw = typename V::Bits;
  static Raw load(const std::uint16_t* w) { return V::loadBits(w); }
  static typename V::Bits part(Raw raw, int) { return raw; }
  static void order(typename V::Reg (&v)[2]) { v[0] = V::pairs(v[0], v[1]); }
};

template <class V>
struct Decode<V, std::uint8_t, true> : PairsOf<V> {
  static constexpr int kParts = 2;
  using Raw = typename V::Fp8;
  static Raw load(const std::uint8_t* w) { return V::loadFp8(w); }
  static typename V::Bits part(Raw raw, int i) { return V::fp8Pairs(raw, i); }
  static void order(typename V::Reg (&v)[4]) { V::orderFp8Pairs(v); }
};

// Rows [0, R) of x, k values each, copied together as [steps][R][kLanes] in the order of Decode, with zeros up to a
// whole line.
template <class V, int R, class T>
static void packRows(const float* x, std::int64_t stride, std::int64_t k, float* out) {
  using D = Decode<V, T>;
  constexpr int kLine = static_cast<int>(kDenseLine / sizeof(T)), kLoads = D::kParts * D::kValues,
                kStep = kLoads * V::kLanes;
  for (int r = 0; r < R; r++) {
    const float* row = x + r * stride;
    float* o = out + r * V::kLanes;
    for (std::int64_t i = 0; i < k; i += kLine)
      for (int s = 0; s < kLine; s += kStep, o += D::kParts * R * V::kLanes) {
        typename V::Reg v[kLoads];
        for (int l = 0; l < kLoads; l++) {
          const std::int64_t left = k - i - s - l * V::kLanes;
          const float* from = row + i + s + l * V::kLanes;
          v[l] = left >= V::kLanes ? V::load(from) : left > 0 ? V::loadFirst(from, static_cast<int>(left)) : V::zero();
        }
        D::order(v);
        for (int part = 0; part < D::kParts; part++) V::store(o + part * R * V::kLanes, v[part]);
      }
  }
}

// Two lines (or the last one) of a panel times x, added to acc. Ahead: lines that are used later are asked for
// meanwhile.
template <class V, int R, int Lines, bool Ahead, class T>
static inline void addLines(const float* x, const T* w, typename V::Reg (&acc)[R][kColumns]) {
  using D = Decode<V, T>;
  constexpr int kLine = static_cast<int>(kDenseLine / sizeof(T)), kStep = D::kParts * D::kValues * V::kLanes;
#pragma GCC unroll 2
  for (int line = 0; line < Lines; line++, w += kColumns * kLine)
#pragma GCC unroll 2
    for (int s = 0; s < kLine; s += kStep) {
      typename D::Raw raw[kColumns];
      for (int c = 0; c < kColumns; c++) raw[c] = D::load(w + c * kLine + s);
#pragma GCC unroll 4
      for (int part = 0; part < D::kParts; part++, x += R * V::kLanes) {
        typename V::Reg xv[R];
        for (int r = 0; r < R; r++) {
          typename V::Reg v = V::load(x + r * V::kLanes);
          if constexpr (V::kPairs && R > 2) V::keep(v);  // fewer rows wait for the weights
          xv[r] = v;
        }
        for (int c = 0; c < kColumns; c++) {
          if (Ahead && part == 0 && s == 0) prefetch(w + c * kLine + kAhead / static_cast<std::int64_t>(sizeof(T)));
          auto wv = D::part(raw[c], part);
          if constexpr (V::kPairs && R > 2) V::keep(wv);
          for (int r = 0; r < R; r++) acc[r][c] = D::add(xv[r], wv, acc[r][c]);
        }
      }
    }
}

// The product of a chunk of k with a panel: acc[r][c], to be added up over lanes. x: packRows; w: the panel's lines.
template <class V, int R, bool IsCold, class T>
static inline void sumChunk(const float* x, const T* w, std::int64_t k, typename V::Reg (&acc)[R][kColumns]) {
  constexpr int kLine = static_cast<int>(kDenseLine / sizeof(T)), kXLine = kLine / Decode<V, T>::kValues;
  for (int r = 0; r < R; r++)
    for (int c = 0; c < kColumns; c++) acc[r][c] = V::zero();
  std::int64_t lines = (k + kLine - 1) / kLine;
  constexpr int kTogether = V::kPairs ? 1 : 2;  // two lines of pairs would not fit the registers
  for (; lines >= kTogether; lines -= kTogether, x += kTogether * R * kXLine, w += kTogether * kColumns * kLine)
    addLines<V, R, kTogether, IsCold && (R > 2)>(x, w, acc);
  if (lines > 0) addLines<V, R, 1, false>(x, w, acc);
}

// The same for FP8, in tiles of 128 k. scales: eight for each of the four rows; w: lines of codes, or what prepareFp8
// made of them.
template <class V, int R, bool IsCold, class T>
static inline void sumFp8Chunk(const float* x, const float* scales, const T* w, std::int64_t k,
                               typename V::Reg (&acc)[R][kColumns]) {
  constexpr int kTile = static_cast<int>(kFp8Tile), kLine = static_cast<int>(kDenseLine / sizeof(T));
  for (int r = 0; r < R; r++)
    for (int c = 0; c < kColumns; c++) acc[r][c] = V::zero();
  for (std::int64_t left = k; left > 0;
       left -= kTile, x += R * kTile / Decode<V, T>::kValues, w += kColumns * kTile, scales++) {
    typename V::Reg sum[R][kColumns];
    for (int r = 0; r < R; r++)
      for (int c = 0; c < kColumns; c++) sum[r][c] = V::zero();
    if (left > kDenseLine)
      addLines<V, R, kTile / kLine, IsCold && (R > 2)>(x, w, sum);
    else
      addLines<V, R, static_cast<int>(kDenseLine) / kLine, false>(x, w, sum);
    for (int c = 0; c < kColumns; c++) {
      const typename V::Reg scale = V::splat(scales[c * kFp8Scales]);
      for (int r = 0; r < R; r++) acc[r][c] = V::fma(sum[r][c], scale, acc[r][c]);
    }
  }
}

// Adds the sums of one chunk of k to (or, for the first, writes them to) out[R][columns]. x: packRows; panel:
// densePanel. IsCold: the weights come from memory. For one or two rows the processor's own prefetching keeps up with
// them; with more arithmetic in between it falls behind (0.6 of read bandwidth for four rows instead of 0.8). prepared:
// of FP8 codes, by prepareFp8, or null.
template <class V, int R, bool IsCold, class T>
static inline void tile(const float* x, const std::uint8_t* panel, const std::uint16_t* prepared, std::int64_t k,
                        bool isFirst, float* out, std::int64_t outStride, int columns) {
  typename V::Reg acc[R][kColumns];
  if constexpr (sizeof(T) == 1) {
    const float* scales = reinterpret_cast<const float*>(panel);
    if constexpr (V::kPairs && !IsCold)
      sumFp8Chunk<V, R, IsCold>(x, scales, prepared, k, acc);
    else
      sumFp8Chunk<V, R, IsCold>(x, scales, reinterpret_cast<const T*>(scales + kColumns * kFp8Scales), k, acc);
  } else {
    sumChunk<V, R, IsCold>(x, reinterpret_cast<const T*>(panel), k, acc);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
    float* o = out + r * outStride;
    float some[kColumns] = {};
    float* to = columns == kColumns ? o : some;
    if (columns < kColumns)
      for (int c = 0; c < columns; c++) some[c] = o[c];
    V::storeSums(acc[r][0], acc[r][1], acc[r][2], acc[r][3], Decode<V, T>::kScale, isFirst, to);
    if (columns < kColumns)
      for (int c = 0; c < columns; c++) o[c] = some[c];
  }
}

// Rows [r, r + R) against panels [n, end) in k [k0, k0 + k); x: packRows of that; prepared: of panel n on, where tile()
// wants it.
template <class V, int R, bool IsCold, class T>
static void panels(const DenseBlock& b, const float* x, std::int64_t r, std::int64_t n, std::int64_t end,
                   std::int64_t k0, std::int64_t k, const std::uint16_t* prepared = nullptr) {
  for (; n < end; n += kColumns) {
    tile<V, R, IsCold, T>(x, b.w->densePanel(b.matrix, n, k0), prepared, k, k0 == 0, b.out + r * b.outStride + n,
                          b.outStride, static_cast<int>(least(end - n, kColumns)));
    if (prepared != nullptr) prepared += kColumns * kChunk;
  }
}

// Few rows: one stream through the weights, chunk by chunk.
template <class V, int R, class T>
static void fewRows(const DenseBlock& b, std::int64_t r) {
  constexpr std::int64_t kLine = kDenseLine / static_cast<std::int64_t>(sizeof(T));
  const std::int64_t k = b.w->k;
  float* const x =
      static_cast<float*>(scratchBytes(Slot::rows, static_cast<std::size_t>((k + kLine) * R) * sizeof(float)));
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

// Rows in a tile: for FP8 there are two sets of sums.
template <class V, class T>
constexpr int kTileRows = sizeof(T) == 1 ? V::kFp8Rows : V::kMaxRows;

// The codes of panels [n, end) in k [k0, k0 + k) as BF16, in the lines that addLines wants; a panel takes kColumns *
// kChunk values.
template <class V>
static void prepareFp8(const DenseBlock& b, std::int64_t n, std::int64_t end, std::int64_t k0, std::int64_t k,
                       std::uint16_t* out) {
  for (; n < end; n += kColumns, out += kColumns * kChunk) {
    const std::uint8_t* line = b.w->densePanel(b.matrix, n, k0) + kColumns * kFp8Scales * sizeof(float);
    std::uint16_t* o = out;
    for (std::int64_t i = 0; i < k; i += kDenseLine, o += 2 * kColumns * kDenseLine / 2)
      for (int c = 0; c < kColumns; c++, line += kDenseLine) {
        const typename V::Fp8 codes = V::loadFp8(line);
        for (int part = 0; part < 2; part++)
          V::storeBits(o + (part * kColumns + c) * kDenseLine / 2, V::fp8Pairs(codes, part));
      }
  }
}

// Many rows: as many as fit the second-level cache are copied for one chunk of k. Then a few panels at a time come into
// the first-level cache and all those rows pass over them, while the next panels are fetched.
template <class V, class T>
static void manyRows(const DenseBlock& b) {
  constexpr int kMost = kTileRows<V, T>;
  constexpr bool kPrepares = V::kPairs && sizeof(T) == 1;
  constexpr std::int64_t kTileFloats = kMost * kChunk / Decode<V, T>::kValues;
  constexpr std::int64_t kTiles = kPackedBytes / (kTileFloats * static_cast<std::int64_t>(sizeof(float)));
  constexpr std::int64_t kPanelValues = kColumns * kChunk;
  constexpr std::int64_t kPanels =
      kPanelBytes / (kPanelValues * static_cast<std::int64_t>(kPrepares ? sizeof(std::uint16_t) : sizeof(T)));
  float* const x = static_cast<float*>(scratchBytes(Slot::rows, kTiles * kTileFloats * sizeof(float)));
  std::uint16_t* prepared = nullptr;
  if constexpr (kPrepares)
    prepared = static_cast<std::uint16_t*>(scratchBytes(Slot::panel, kPanels * kPanelValues * sizeof(std::uint16_t)));
  const std::int64_t rows = b.r1 - b.r0, blocks = (rows + kTiles * kMost - 1) / (kTiles * kMost);
  for (std::int64_t block = 0; block < blocks; block++) {
    const std::int64_t r0 = b.r0 + rows * block / blocks, count = b.r0 + rows * (block + 1) / blocks - r0;
    const std::int64_t tiles = (count + kMost - 1) / kMost;
    const auto eachTile = [&](const auto& fn) {
      for (std::int64_t i = 0; i < tiles; i++) {
        const std::int64_t begin = count * i / tiles;
        withRows<kMost>(count * (i + 1) / tiles - begin, [&](auto n) { fn(n, i, r0 + begin); });
      }
    };
    for (std::int64_t k0 = 0; k0 < b.w->k; k0 += kChunk) {
      const std::int64_t k = least(b.w->k - k0, kChunk);
      eachTile([&](auto n, std::int64_t i, std::int64_t r) {
        packRows<V, decltype(n)::value, T>(b.x + r * b.xStride + k0, b.xStride, k, x + i * kTileFloats);
      });
      for (std::int64_t n = b.n0; n < b.n1; n += kPanels * kColumns) {
        const std::int64_t end = least(b.n1, n + kPanels * kColumns);
        const std::uint8_t* const panel = b.w->densePanel(b.matrix, n, k0);
        const std::int64_t lines = kPanels * kColumns * Weight::denseRowBytes(b.w->format, k) / kDenseLine;
        if constexpr (kPrepares) prepareFp8<V>(b, n, end, k0, k, prepared);
        eachTile([&](auto R, std::int64_t i, std::int64_t r) {
          for (std::int64_t l = lines * i / tiles; l < lines * (i + 1) / tiles; l++)
            prefetch(panel + (lines + l) * kDenseLine);
          panels<V, decltype(R)::value, false, T>(b, x + i * kTileFloats, r, n, end, k0, k, prepared);
        });
      }
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
  else if constexpr (!V::kPairs)
    blockOf<V, float>(b);
}

template <class V>
static void linear(const LinearParams& p, int threads) {
  const Weight& w = *p.w;
  const std::int64_t groups = w.matrices, tiles = (w.n + kColumns - 1) / kColumns;
  auto range = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end;) {
      const std::int64_t g = i / tiles, next = least(end, (g + 1) * tiles);
      denseBlock<V>({&w, g, (i - g * tiles) * kColumns, least(w.n, (next - g * tiles) * kColumns), p.x + g * w.k,
                     groups * w.k, 0, p.m, p.out + g * w.n, groups * w.n});
      i = next;
    }
  };
  eachRange(groups * tiles, threads, grainFor(p.m * kColumns * w.k), range);
}

// Grouped by expert. Threads split the columns and walk all experts, so that their work is equal however tokens fall.
template <class V>
static void groupedA16(const GroupedA16Params& p, int threads) {
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

template <class V>
static void groupedDense(const GroupedDenseParams& p, int threads) {
  groupedA16<V>(p, threads);
}

// The entries of a table that are here: float32 products.
template <class V>
static void setDense(KernelTable& t) {
  t.linear = linear<V>;
  t.linearBf16 = linearRounded<linear<V>>;
  t.groupedDense = groupedDense<V>;
  t.groupedDenseBf16 = groupedRounded<groupedDense<V>>;
}

// Products of BF16 pairs, by P; float32 weights have none.
template <class V, class P>
static void linearPairs(const LinearBf16Params& p, int threads) {
  if (p.w->format == Format::f32)
    linearRounded<linear<V>>(p, threads);
  else
    linear<P>(p, threads);
}

template <class V, class P>
static void groupedPairs(const GroupedDenseBf16Params& p, int threads) {
  if (p.w->format == Format::f32)
    groupedRounded<groupedDense<V>>(p, threads);
  else
    groupedA16<P>(p, threads);
}

// The same entries, with BF16 activations by P.
template <class V, class P>
static void setDense(KernelTable& t) {
  t.linear = linear<V>;
  t.linearBf16 = linearPairs<V, P>;
  t.groupedDense = groupedDense<V>;
  t.groupedDenseBf16 = groupedPairs<V, P>;
}

}  // namespace megamoe::gemm::simd
