// The one matrix product behind scores, attention output and indexer: a tile of kTileRows x kTileVectors sums held in
// registers.

enum class Into { kStore, kAdd, kScale };
// How the left side lies: a[r][k], as keys do, or a[k][r], as weights do.
enum class Left { kRows, kColumns };

// c[r][v] = the product, c[r][v] + the product, or c[r][v] * rowScale[r] + the product, where the product is the sum
// over k < depth of a[r][k] * b[k][v] in ascending k, fused, from 0. An element's value does not depend on the tile it
// falls into.
struct Product {
  const float* a;
  int64_t aStep;  // from row to row, or from column to column
  const float* b;
  int64_t bStep;
  int64_t depth;
  float* c;
  int64_t cRow;
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

template <int R, int C, Left left, Into into>
MEGAMOE_NOINLINE void tile(const Product& p) {
  Vec sum[R][C];
  const float* a[R];
  MEGAMOE_UNROLL
  for (int r = 0; r < R; r++) {
    a[r] = p.a + (left == Left::kRows ? r * p.aStep : r);
    MEGAMOE_UNROLL
    for (int v = 0; v < C; v++) sum[r][v] = zero();
  }
  const float* b = p.b;
  for (int64_t k = 0, at = 0; k < p.depth; k++, at += left == Left::kRows ? 1 : p.aStep, b += p.bStep) {
    Vec column[C];
    MEGAMOE_UNROLL
    for (int v = 0; v < C; v++) column[v] = load(b + v * kLanes);
    MEGAMOE_UNROLL
    for (int r = 0; r < R; r++) {
      const Vec x = all(a[r][at]);
      MEGAMOE_UNROLL
      for (int v = 0; v < C; v++) sum[r][v] = fma(x, column[v], sum[r][v]);
    }
  }
  MEGAMOE_UNROLL
  for (int r = 0; r < R; r++) {
    float* c = p.c + r * p.cRow;
    MEGAMOE_UNROLL
    for (int v = 0; v < C; v++) {
      if (into == Into::kAdd) sum[r][v] = add(load(c + v * kLanes), sum[r][v]);
      if (into == Into::kScale) sum[r][v] = fma(load(c + v * kLanes), all(p.rowScale[r]), sum[r][v]);
      store(c + v * kLanes, sum[r][v]);
    }
  }
}

template <int C, Left left, Into into>
void tileRows(const Product& p, int64_t rows) {
  switch (rows) {
    case 1: return tile<1, C, left, into>(p);
    case 2: return tile<2, C, left, into>(p);
    case 3: return tile<3, C, left, into>(p);
    case 4: return tile<4, C, left, into>(p);
    case 5: return tile<5, C, left, into>(p);
    default: return tile<6, C, left, into>(p);
  }
}

template <Left left, Into into>
void tileOf(const Product& p, int64_t rows, int64_t vectors) {
  static_assert(kTileRows == 6 && kTileVectors <= 4, "the switches list every tile");
  switch (vectors) {
    case 1: return tileRows<1, left, into>(p, rows);
    case 2: return tileRows<2, left, into>(p, rows);
    case 3: return tileRows<(kTileVectors < 3 ? 1 : 3), left, into>(p, rows);
    default: return tileRows<(kTileVectors < 4 ? 1 : 4), left, into>(p, rows);
  }
}

// Tiles of a product of `rows` x `vectors` vectors.
inline int64_t tilesOf(int64_t rows, int64_t vectors) {
  return (rows + kTileRows - 1) / kTileRows * ((vectors + kTileVectors - 1) / kTileVectors);
}

// The product for `rows` x `vectors` vectors, with between() before each tile. Rows are dealt out evenly, so that no
// tile is left with few sums.
template <Left left, Into into, class Between>
void multiply(const Product& whole, int64_t rows, int64_t vectors, Between&& between) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (int64_t v = 0; v < vectors; v += kTileVectors) {
    for (int64_t t = 0, r = 0; t < tiles; t++) {
      const int64_t end = rows * (t + 1) / tiles;
      Product p = whole;
      p.a += left == Left::kRows ? r * p.aStep : r;
      p.b += v * kLanes;
      p.c += r * p.cRow + v * kLanes;
      p.rowScale += into == Into::kScale ? r : 0;
      between();
      tileOf<left, into>(p, end - r, least(kTileVectors, vectors - v));
      r = end;
    }
  }
}
