// Grouped products over experts: W4A4, W4A16, and dense expert weights.
//
// Threads split the output columns (panels of 32) and walk all experts: every thread has the same work however tokens fall on experts,
// and an output element is computed by one thread in one order.
#include <megamoe/codecs.h>
#include <megamoe/thread_pool.h>

#include <algorithm>

#include "../scratch.h"
#include "generic.h"
#include "lanes.h"

namespace megamoe::gemm::generic {

namespace {

constexpr int kCols = static_cast<int>(kPanel);
constexpr std::int64_t kTile = 16;  // rows of A that share one decoded weight block

// Values of the E4M3 bytes; NaN and negative bytes never come here (findBadScale).
struct ScaleTable {
  float value[256];
  ScaleTable() {
    for (int b = 0; b < 256; b++) value[b] = decodeE4m3(static_cast<std::uint8_t>(b));
  }
};
const ScaleTable kScale;

// One panel block as doubled E2M1 integers [16][32].
inline void decodeCodes(const std::uint8_t* codes, std::int16_t (*w)[kCols]) {
  for (int j = 0; j < 8; j++) {
    for (int c = 0; c < kCols; c++) {
      const std::int16_t byte = codes[j * kCols + c];
      const auto value = [](std::int16_t code) -> std::int16_t {
        const std::int16_t m = code & 7;  // 0 1 2 3 4 6 8 12: m, one more per step above 4, two more above 6
        const std::int16_t over4 = m > 4 ? m - 4 : 0, over6 = m > 6 ? m - 6 : 0;
        const std::int16_t magnitude = static_cast<std::int16_t>(m + over4 + 2 * over6);
        const std::int16_t sign = static_cast<std::int16_t>(-(code >> 3));
        return static_cast<std::int16_t>((magnitude ^ sign) - sign);
      };
      w[j][c] = value(byte & 15);
      w[j + 8][c] = value(static_cast<std::int16_t>(byte >> 4));
    }
  }
}

// A quarter of each scale, exact: two doubled operands make the dot product four times too large.
inline void decodeScales(const std::uint8_t* sf, float factor, float* out) {
  for (int c = 0; c < kCols; c++) out[c] = kScale.value[sf[c]] * factor;
}

// Columns [first, last) of expert e's alpha in a panel.
inline void panelAlpha(const GroupedParams& p, std::int64_t e, std::int64_t panel, float* out) {
  const std::int64_t n = p.w->n;
  for (std::int64_t c = 0; c < kCols; c++) {
    const std::int64_t column = std::min(panel * kCols + c, n - 1);
    out[c] = p.alpha[e * p.parts + column * p.parts / n];
  }
}

// fn(e, start, end) for every expert that has rows.
template <class F>
void eachExpert(const GroupedParams& p, F&& fn) {
  std::int64_t start = 0;
  for (std::int64_t e = 0; e < p.w->matrices; e++) {
    const std::int64_t end = p.expertOffsets[e];
    if (end > start) fn(e, start, end);
    start = end;
  }
}

struct ActTag {};
struct ActScaleTag {};

// Rows [r0, r1) of A as doubled integers [rows][K] and scales [rows][K/16].
void decodeRows(const GroupedW4A4Params& p, std::int64_t r0, std::int64_t r1, std::int16_t* a, float* scales) {
  const std::int64_t k = p.w->k, kSf = k / kBlock;
  const std::uint8_t* codes = p.aCodes + r0 * (k / 2);
  for (std::int64_t i = 0; i < (r1 - r0) * (k / 2); i++) {
    a[2 * i] = kE2m1Doubled[codes[i] & 15];
    a[2 * i + 1] = kE2m1Doubled[codes[i] >> 4];
  }
  for (std::int64_t i = 0; i < (r1 - r0) * kSf; i++) scales[i] = kScale.value[p.aSf[r0 * kSf + i]];
}

// acc[32] += dot * sa * sb of one row and one block. |dot| <= 16 * 12 * 12 fits an int16 lane.
inline void rowBlockW4A4(const std::int16_t* a, float sa, const std::int16_t (*w)[kCols], const float* sb, float* acc) {
  I16x8 dot[4] = {};
  for (int i = 0; i < kBlock; i++) {
    const I16x8 av = splat16(a[i]);
    for (int v = 0; v < 4; v++) dot[v] += loadLanes<I16x8>(w[i] + 8 * v) * av;
  }
  std::int16_t lane[kCols];
  for (int v = 0; v < 4; v++) storeLanes(lane + 8 * v, dot[v]);
  for (int c = 0; c < kCols; c++) acc[c] += static_cast<float>(lane[c]) * (sa * sb[c]);
}

// One panel against up to kTile rows.
void panelW4A4(const std::uint8_t* block, std::int64_t kSf, const std::int16_t* a, const float* scales, std::int64_t rows,
               float (*acc)[kCols]) {
  alignas(64) std::int16_t w[kBlock][kCols];
  alignas(64) float sb[kCols];
  for (std::int64_t b = 0; b < kSf; b++, block += kBlockBytes) {
    decodeCodes(block, w);
    decodeScales(block + kBlockCodes, 0.25f, sb);
    for (std::int64_t r = 0; r < rows; r++)
      rowBlockW4A4(a + (r * kSf + b) * kBlock, scales[r * kSf + b], w, sb, acc[r]);
  }
}

// One panel against up to kTile rows of float32: per block a sum of 16 products, times the scale, added to acc.
void panelA16(const std::uint8_t* block, std::int64_t kSf, const float* a, std::int64_t rows, float (*acc)[kCols]) {
  alignas(64) std::int16_t w16[kBlock][kCols];
  alignas(64) float w[kBlock][kCols], sb[kCols];
  for (std::int64_t b = 0; b < kSf; b++, block += kBlockBytes) {
    decodeCodes(block, w16);
    for (int i = 0; i < kBlock; i++)
      for (int c = 0; c < kCols; c++) w[i][c] = static_cast<float>(w16[i][c]);
    decodeScales(block + kBlockCodes, 0.5f, sb);
    for (std::int64_t r = 0; r < rows; r++) {
      const float* row = a + (r * kSf + b) * kBlock;
      F32x4 sum[8] = {};
      for (int i = 0; i < kBlock; i++) {
        const F32x4 av = splat(row[i]);
        for (int v = 0; v < 8; v++) sum[v] += loadLanes<F32x4>(w[i] + 4 * v) * av;
      }
      for (int v = 0; v < 8; v++) {
        const F32x4 next = loadLanes<F32x4>(acc[r] + 4 * v) + sum[v] * loadLanes<F32x4>(sb + 4 * v);
        storeLanes(acc[r] + 4 * v, next);
      }
    }
  }
}

// out = alpha * acc, then * rowScale, for the columns that exist.
void storePanel(const GroupedParams& p, std::int64_t e, std::int64_t panel, std::int64_t r0, std::int64_t rows,
                const float (*acc)[kCols], const float* rowScale) {
  const std::int64_t n = p.w->n, c0 = panel * kCols, columns = std::min<std::int64_t>(kCols, n - c0);
  float alpha[kCols];
  panelAlpha(p, e, panel, alpha);
  for (std::int64_t r = 0; r < rows; r++) {
    float* out = p.out + (r0 + r) * n + c0;
    for (std::int64_t c = 0; c < columns; c++) {
      const float v = alpha[c] * acc[r][c];
      out[c] = rowScale == nullptr ? v : v * rowScale[r0 + r];
    }
  }
}

void denseExperts(const GroupedA16Params& p, int threads, std::int64_t rows) {
  const Weight& w = *p.w;
  parallelFor(w.panels(), threads, grainOf(rows * kPanel * w.k), [&](std::int64_t begin, std::int64_t end) {
    eachExpert(p, [&](std::int64_t e, std::int64_t start, std::int64_t stop) {
      denseBlock({w.matrix(e), w.format == Format::bf16, w.k, begin * kPanel, std::min(w.n, end * kPanel), p.a, w.k, start, stop,
                  p.out, w.n});
    });
  });
}

}  // namespace

void groupedW4A4(const GroupedW4A4Params& p, int threads) {
  const Weight& w = *p.w;
  const std::int64_t rows = p.expertOffsets[w.matrices - 1], kSf = w.k / kBlock;
  parallelFor(w.panels(), threads, grainOf(rows * kPanel * w.k), [&](std::int64_t begin, std::int64_t end) {
    std::int16_t* a = threadScratch<std::int16_t, ActTag>(kTile * w.k);
    float* scales = threadScratch<float, ActScaleTag>(kTile * kSf);
    eachExpert(p, [&](std::int64_t e, std::int64_t start, std::int64_t stop) {
      for (std::int64_t r = start; r < stop; r += kTile) {
        const std::int64_t count = std::min(kTile, stop - r);
        decodeRows(p, r, r + count, a, scales);
        for (std::int64_t panel = begin; panel < end; panel++) {
          alignas(64) float acc[kTile][kCols] = {};
          panelW4A4(w.panel(e, panel), kSf, a, scales, count, acc);
          storePanel(p, e, panel, r, count, acc, p.rowScale);
        }
      }
    });
  });
}

void groupedA16(const GroupedA16Params& p, int threads) {
  const Weight& w = *p.w;
  const std::int64_t rows = p.expertOffsets[w.matrices - 1], kSf = w.k / kBlock;
  if (w.format != Format::nvfp4) return denseExperts(p, threads, rows);
  parallelFor(w.panels(), threads, grainOf(rows * kPanel * w.k), [&](std::int64_t begin, std::int64_t end) {
    eachExpert(p, [&](std::int64_t e, std::int64_t start, std::int64_t stop) {
      for (std::int64_t r = start; r < stop; r += kTile) {
        const std::int64_t count = std::min(kTile, stop - r);
        for (std::int64_t panel = begin; panel < end; panel++) {
          alignas(64) float acc[kTile][kCols] = {};
          panelA16(w.panel(e, panel), kSf, p.a + r * w.k, count, acc);
          storePanel(p, e, panel, r, count, acc, nullptr);
        }
      }
    });
  });
}

}  // namespace megamoe::gemm::generic
