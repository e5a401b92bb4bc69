// Dense products. A dot product is 16 partial sums over k (lane = k mod 16) and a fixed tree over them: the order of
// additions belongs to the pair of rows alone, so the result is the same for any number of rows and threads.
#include <megamoe/codecs.h>
#include <megamoe/thread_pool.h>

#include <algorithm>

#include "../rounded.h"
#include "../scratch.h"
#include "generic.h"
#include "lanes.h"

namespace megamoe::gemm::generic {

namespace {

constexpr int kLanes = 16;
constexpr std::int64_t kTileRows = 8;  // weight rows used together: 8 * 4096 floats stay in a second-level cache

// Dot products of one weight row with R rows of x. R only shares loads of w; each row's additions are those of R = 1.
template <int R>
void dots(const float* w, const float* x, std::int64_t xStride, std::int64_t k, float* result,
          std::int64_t resultStride) {
  F32x4 acc[R][4] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    for (int v = 0; v < 4; v++) {
      const F32x4 wv = loadLanes<F32x4>(w + i + 4 * v);
      for (int r = 0; r < R; r++) acc[r][v] += loadLanes<F32x4>(x + r * xStride + i + 4 * v) * wv;
    }
  }
  for (int r = 0; r < R; r++) {
    float lane[kLanes];
    for (int v = 0; v < 4; v++) storeLanes(lane + 4 * v, acc[r][v]);
    for (std::int64_t j = i; j < k; j++) lane[j - i] += x[r * xStride + j] * w[j];
    for (int half = kLanes / 2; half > 0; half /= 2)
      for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    result[r * resultStride] = lane[0];
  }
}

struct RowTag {};

// One line of weights, n values of it, as float32.
void decodeLine(const std::uint8_t* line, Format format, const float* scales, std::int64_t n, float* out) {
  if (format == Format::f32) {
    std::memcpy(out, line, static_cast<std::size_t>(n) * sizeof(float));
  } else if (format == Format::bf16) {
    std::uint16_t bits[kDenseLine / 2];
    std::memcpy(bits, line, sizeof bits);
    for (std::int64_t i = 0; i < n; i++) out[i] = decodeBf16(bits[i]);
  } else {
    for (std::int64_t i = 0; i < n; i++) out[i] = decodeE4m3(unpackFp8(line[i])) * *scales;
  }
}

// Row `row` of a matrix as float32.
void decodeRow(const Weight& w, std::int64_t matrix, std::int64_t row, float* out) {
  const std::int64_t inLine = kDenseLine / denseElementBytes(w.format), k = w.k;
  for (std::int64_t k0 = 0; k0 < k; k0 += kDenseChunk) {
    const std::uint8_t* line = w.denseRow(matrix, row, k0);
    float scales[kFp8Scales] = {};
    if (w.format == Format::fp8) std::memcpy(scales, w.denseScales(matrix, row, k0), sizeof scales);
    for (std::int64_t i = k0; i < std::min(k, k0 + kDenseChunk); i += inLine, line += kDenseRows * kDenseLine)
      decodeLine(line, w.format, scales + (i - k0) / kFp8Tile, std::min(inLine, k - i), out + i);
  }
}

// Weight rows [row, row + rows) as float32, on this thread's scratch.
const float* floatRows(const DenseBlock& b, std::int64_t row, std::int64_t rows) {
  float* out = threadScratch<float, RowTag>(kTileRows * b.w->k);
  for (std::int64_t r = 0; r < rows; r++) decodeRow(*b.w, b.matrix, row + r, out + r * b.w->k);
  return out;
}

}  // namespace

void denseBlock(const DenseBlock& b) {
  const std::int64_t k = b.w->k;
  for (std::int64_t n = b.n0; n < b.n1; n += kTileRows) {
    const std::int64_t rows = std::min(kTileRows, b.n1 - n);
    const float* w = floatRows(b, n, rows);
    std::int64_t r = b.r0;
    for (; r + 2 <= b.r1; r += 2)
      for (std::int64_t c = 0; c < rows; c++)
        dots<2>(w + c * k, b.x + r * b.xStride, b.xStride, k, b.out + r * b.outStride + n + c, b.outStride);
    for (; r < b.r1; r++)
      for (std::int64_t c = 0; c < rows; c++)
        dots<1>(w + c * k, b.x + r * b.xStride, b.xStride, k, b.out + r * b.outStride + n + c, b.outStride);
  }
}

void linear(const LinearParams& p, int threads) {
  const Weight& w = *p.w;
  const std::int64_t groups = w.matrices, tiles = (w.n + kTileRows - 1) / kTileRows;
  parallelFor(groups * tiles, threads, grainOf(p.m * kTileRows * w.k), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end;) {
      const std::int64_t g = i / tiles, next = std::min(end, (g + 1) * tiles);
      denseBlock({&w, g, (i - g * tiles) * kTileRows, std::min(w.n, (next - g * tiles) * kTileRows), p.x + g * w.k,
                  groups * w.k, 0, p.m, p.out + g * w.n, groups * w.n});
      i = next;
    }
  });
}

void linearBf16(const LinearBf16Params& p, int threads) { linearRounded<linear>(p, threads); }

void embed(const EmbedParams& p, int threads) {
  const std::int64_t d = p.w->k;
  parallelFor(p.t, threads, grainOf(d * p.repeat), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) {
      float* out = p.out + i * p.repeat * d;
      decodeRow(*p.w, 0, p.ids[i], out);
      for (std::int64_t r = 1; r < p.repeat; r++) std::memcpy(out + r * d, out, static_cast<std::size_t>(d) * 4);
    }
  });
}

}  // namespace megamoe::gemm::generic
