// The one matrix product behind scores, attention output and indexer: a tile of kTileRows x kTileVectors sums held in
// registers.
#pragma once

#include "math.h"

namespace megamoe::attention::simd {

enum class Into { kStore, kAdd, kScale };
// How the left side lies: a[r][k], as keys do, or a[k][r], as weights do.
enum class Left { kRows, kColumns };

// c[r][v] = the product, c[r][v] + the product, or c[r][v] * rowScale[r] + the product, where the product is the sum
// over k < depth of a[r][k] * b[k][v] in ascending k, fused, from 0. An element's value does not depend on the tile it
// falls into.
struct Product {
  const float* a;
  std::int64_t aStep;  // from row to row, or from column to column
  const float* b;
  std::int64_t bStep;
  std::int64_t depth;
  float* c;
  std::int64_t cRow;
  const float* rowScale;  // [rows], only for kScale
};

// Sums stay in registers only when every loop over them is unrolled, which GCC else decides by the size of the body;
// inlined, it sometimes spills them.
#if defined(_MSC_VER) && !defined(__clang__)
#define MEGAMOE_UNROLL
#define MEGAMOE_NOINLINE __declspec(noinline)
#else
#define MEGAMOE_UNROLL _Pragma("GCC unroll 8")
#define MEGAMOE_NOINLINE __attribute__((noinline))
#endif

template <class V, int R, int C, Left left, Into into>
MEGAMOE_NOINLINE static void tile(const Product& p) {
  typename V::Reg sum[R][C];
  const float* a[R];
  MEGAMOE_UNROLL
  for (int r = 0; r < R; r++) {
    a[r] = p.a + (left == Left::kRows ? r * p.aStep : r);
    MEGAMOE_UNROLL
    for (int v = 0; v < C; v++) sum[r][v] = V::zero();
  }
  const float* b = p.b;
  for (std::int64_t k = 0, at = 0; k < p.depth; k++, at += left == Left::kRows ? 1 : p.aStep, b += p.bStep) {
    typename V::Reg column[C];
    MEGAMOE_UNROLL
    for (int v = 0; v < C; v++) column[v] = V::load(b + v * V::kLanes);
    MEGAMOE_UNROLL
    for (int r = 0; r < R; r++) {
      const typename V::Reg x = V::splat(a[r][at]);
      MEGAMOE_UNROLL
      for (int v = 0; v < C; v++) sum[r][v] = V::fma(x, column[v], sum[r][v]);
    }
  }
  MEGAMOE_UNROLL
  for (int r = 0; r < R; r++) {
    float* c = p.c + r * p.cRow;
    MEGAMOE_UNROLL
    for (int v = 0; v < C; v++) {
      if (into == Into::kAdd) sum[r][v] = V::add(V::load(c + v * V::kLanes), sum[r][v]);
      if (into == Into::kScale) sum[r][v] = V::fma(V::load(c + v * V::kLanes), V::splat(p.rowScale[r]), sum[r][v]);
      V::store(c + v * V::kLanes, sum[r][v]);
    }
  }
}

template <class V, int C, Left left, Into into>
static void tileRows(const Product& p, std::int64_t rows) {
  switch (rows) {
    case 1: return tile<V, 1, C, left, into>(p);
    case 2: return tile<V, 2, C, left, into>(p);
    case 3: return tile<V, 3, C, left, into>(p);
    case 4: return tile<V, 4, C, left, into>(p);
    case 5: return tile<V, 5, C, left, into>(p);
    default: return tile<V, 6, C, left, into>(p);
  }
}

template <class V, Left left, Into into>
static void tileOf(const Product& p, std::int64_t rows, std::int64_t vectors) {
  static_assert(V::kTileRows == 6 && V::kTileVectors <= 4, "the switches list every tile");
  switch (vectors) {
    case 1: return tileRows<V, 1, left, into>(p, rows);
    case 2: return tileRows<V, 2, left, into>(p, rows);
    case 3: return tileRows<V, (V::kTileVectors < 3 ? 1 : 3), left, into>(p, rows);
    default: return tileRows<V, (V::kTileVectors < 4 ? 1 : 4), left, into>(p, rows);
  }
}

// Tiles of a product of `rows` x `vectors` vectors.
template <class V>
static inline std::int64_t tilesOf(std::int64_t rows, std::int64_t vectors) {
  return (rows + V::kTileRows - 1) / V::kTileRows * ((vectors + V::kTileVectors - 1) / V::kTileVectors);
}

// The product for `rows` x `vectors` vectors, with between() before each tile. Rows are dealt out evenly, so that no
// tile is left with few sums.
template <class V, Left left, Into into, class Between>
static void multiply(const Product& whole, std::int64_t rows, std::int64_t vectors, Between&& between) {
  const std::int64_t tiles = (rows + V::kTileRows - 1) / V::kTileRows;
  for (std::int64_t v = 0; v < vectors; v += V::kTileVectors) {
    for (std::int64_t t = 0, r = 0; t < tiles; t++) {
      const std::int64_t end = rows * (t + 1) / tiles;
      Product p = whole;
      p.a += left == Left::kRows ? r * p.aStep : r;
      p.b += v * V::kLanes;
      p.c += r * p.cRow + v * V::kLanes;
      p.rowScale += into == Into::kScale ? r : 0;
      between();
      tileOf<V, left, into>(p, end - r, least(V::kTileVectors, vectors - v));
      r = end;
    }
  }
}

}  // namespace megamoe::attention::simd
