// The one matrix product behind scores, attention output and indexer: a tile of kTileRows x kTileVectors sums held in registers.

enum class Into { kStore, kAdd, kScale };

// c[r][v] = the product, c[r][v] + the product, or c[r][v] * rowScale[r] + the product, where the product is the sum over k < depth of
// a[r*aRow + k*aStep] * b[k*bStep + v] in ascending k, fused, from 0. An element's value does not depend on the tile it falls into.
struct Product {
  const float* a;
  int64_t aRow, aStep;
  const float* b;
  int64_t bStep;
  int64_t depth;
  float* c;
  int64_t cRow;
  const float* rowScale;  // [rows], only for kScale
};

template <int R, int C, Into into>
void tile(const Product& p) {
  Vec sum[R][C];
  const float* a[R];
  for (int r = 0; r < R; r++) {
    a[r] = p.a + r * p.aRow;
    for (int v = 0; v < C; v++) sum[r][v] = zero();
  }
  const float* b = p.b;
  for (int64_t k = 0, at = 0; k < p.depth; k++, at += p.aStep, b += p.bStep) {
    Vec column[C];
    for (int v = 0; v < C; v++) column[v] = load(b + v * kLanes);
    for (int r = 0; r < R; r++) {
      const Vec x = all(a[r][at]);
      for (int v = 0; v < C; v++) sum[r][v] = fma(x, column[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; r++) {
    float* c = p.c + r * p.cRow;
    for (int v = 0; v < C; v++) {
      if (into == Into::kAdd) sum[r][v] = add(load(c + v * kLanes), sum[r][v]);
      if (into == Into::kScale) sum[r][v] = fma(load(c + v * kLanes), all(p.rowScale[r]), sum[r][v]);
      store(c + v * kLanes, sum[r][v]);
    }
  }
}

template <int C, Into into>
void tileRows(const Product& p, int64_t rows) {
  switch (rows) {
    case 1: return tile<1, C, into>(p);
    case 2: return tile<2, C, into>(p);
    case 3: return tile<3, C, into>(p);
    case 4: return tile<4, C, into>(p);
    case 5: return tile<5, C, into>(p);
    default: return tile<6, C, into>(p);
  }
}

template <Into into>
void tileOf(const Product& p, int64_t rows, int64_t vectors) {
  static_assert(kTileRows == 6 && kTileVectors <= 4, "the switches list every tile");
  switch (vectors) {
    case 1: return tileRows<1, into>(p, rows);
    case 2: return tileRows<2, into>(p, rows);
    case 3: return tileRows<kTileVectors < 3 ? 1 : 3, into>(p, rows);
    default: return tileRows<kTileVectors < 4 ? 1 : 4, into>(p, rows);
  }
}

// The product for `rows` x `vectors` vectors. Rows are dealt out evenly, so that no tile is left with few sums.
template <Into into>
void multiply(const Product& whole, int64_t rows, int64_t vectors) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (int64_t v = 0; v < vectors; v += kTileVectors) {
    for (int64_t t = 0, r = 0; t < tiles; t++) {
      const int64_t end = rows * (t + 1) / tiles;
      Product p = whole;
      p.a += r * p.aRow;
      p.b += v * kLanes;
      p.c += r * p.cRow + v * kLanes;
      p.rowScale += into == Into::kScale ? r : 0;
      tileOf<into>(p, end - r, least(kTileVectors, vectors - v));
      r = end;
    }
  }
}
