#include "ops.h"

#include <megamoe/thread_pool.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

namespace attention {
namespace {

// Items per range such that a thread has at least some tens of microseconds of work; `cost` is multiply-adds an item.
int64_t grainFor(int64_t cost) { return std::max<int64_t>(1, (int64_t{1} << 17) / std::max<int64_t>(1, cost)); }

// Keeps the rows of this call at positions [begin, end) in the open-window buffer; gates get their ape here.
void storePartial(const CompressParams& p, int64_t begin, int64_t end) {
  for (int64_t position = begin; position < end; position++) {
    const int64_t slot = position % p.ratio * p.width;
    const int64_t row = (p.row0 + position - p.p0) * p.width;
    std::memcpy(p.partialKv + slot, p.kv + row, static_cast<size_t>(p.width) * sizeof(float));
    for (int64_t c = 0; c < p.width; c++) p.partialGate[slot + c] = p.gate[row + c] + p.ape[slot + c];
  }
}

// The k-th largest of n values, none NaN; reorders them.
float kthLargest(float* values, int64_t n, int64_t k) {
  std::nth_element(values, values + (k - 1), values + n, std::greater<float>());
  return values[k - 1];
}

// The topk best of `visible` scores in ascending order of index; of those that equal the last value the first ones.
void selectRow(const float* scores, float* order, int64_t visible, int64_t topk, int32_t* selected) {
  std::memcpy(order, scores, static_cast<size_t>(visible) * sizeof(float));
  const float threshold = kthLargest(order, visible, topk);
  int64_t ties = topk;
  for (int64_t w = 0; w < visible; w++) ties -= scores[w] > threshold;
  int64_t count = 0;
  for (int64_t w = 0; count < topk; w++) {
    if (scores[w] > threshold) {
      selected[count++] = static_cast<int32_t>(w);
    } else if (scores[w] == threshold && ties > 0) {
      ties--;
      selected[count++] = static_cast<int32_t>(w);
    }
  }
}

constexpr int64_t kEntryBlock = 64;            // entries of one item of the scoring pass
constexpr int64_t kScoreBudget = int64_t{1} << 22;  // scores held at a time (16 MB), unless one row needs more

}  // namespace

void runRope(const KernelTable& k, const RopeParams& p, int threads) {
  megamoe::parallelFor(p.m, threads, grainFor(p.heads * p.ropeDim * 2),
                       [&](int64_t begin, int64_t end) { k.rope(p, begin, end); });
}

void runCompress(const KernelTable& k, const CompressParams& p, int threads) {
  const int64_t p1 = p.p0 + p.n;
  const int64_t closed = p1 / p.ratio - p.p0 / p.ratio;
  megamoe::parallelFor(closed, threads, grainFor(p.ratio * p.width * 24),
                       [&](int64_t begin, int64_t end) { k.compressWindows(p, begin, end); });
  const int64_t open = p1 / p.ratio * p.ratio;  // first position of the window that is open now
  if (closed > 0 && p.width == 2 * p.dim) {
    storePartial(p, std::max(p.p0, open - p.ratio), open);  // completes the last closed window, then its first half is kept
    for (int64_t j = 0; j < p.ratio; j++) {
      const size_t bytes = static_cast<size_t>(p.dim) * sizeof(float);
      std::memcpy(p.overlapKv + j * p.dim, p.partialKv + j * p.width, bytes);
      std::memcpy(p.overlapGate + j * p.dim, p.partialGate + j * p.width, bytes);
    }
  }
  storePartial(p, std::max(p.p0, open), p1);
}

void runIndexSelect(const KernelTable& k, const IndexSelectParams& p, int threads) {
  // Rows that see no more than topk entries take them all, without scores. Later rows see more, so these come first.
  const auto visibleTo = [&](int64_t r) { return (p.p0 + r + 1) / p.ratio; };
  int64_t scored = 0;
  for (; scored < p.n && visibleTo(scored) <= p.topk; scored++) {
    int32_t* row = p.selected + scored * p.topk;
    const int64_t visible = visibleTo(scored);
    for (int64_t w = 0; w < p.topk; w++) row[w] = w < visible ? static_cast<int32_t>(w) : -1;
  }
  if (scored == p.n || p.topk == 0) return;
  const int64_t most = visibleTo(p.n - 1);
  const int64_t rows = std::clamp<int64_t>(kScoreBudget / most, 1, p.n - scored);
  // Kept between calls by each calling thread, so that a warm step allocates nothing.
  static thread_local std::vector<float> kept;
  if (kept.size() < static_cast<size_t>(2 * rows * most)) kept.resize(static_cast<size_t>(2 * rows * most));
  float* const scores = kept.data();
  float* const order = scores + rows * most;
  const int64_t blocks = (most + kEntryBlock - 1) / kEntryBlock;
  for (int64_t r0 = scored; r0 < p.n; r0 += rows) {
    const int64_t batch = std::min(rows, p.n - r0);
    megamoe::parallelFor(batch * blocks, threads, grainFor(kEntryBlock * p.heads * p.dim), [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; item++) {
        const int64_t r = item / blocks;
        const int64_t first = item % blocks * kEntryBlock;
        const int64_t last = std::min(first + kEntryBlock, visibleTo(r0 + r));
        if (first < last) k.indexScores(p, r0 + r, first, last, scores + r * most);
      }
    });
    megamoe::parallelFor(batch, threads, grainFor(most * 8), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) {
        selectRow(scores + r * most, order + r * most, visibleTo(r0 + r), p.topk, p.selected + (r0 + r) * p.topk);
      }
    });
  }
}

void runAttend(const KernelTable& k, const AttendParams& p, int threads) {
  int64_t keys = 0;
  for (int64_t r = 0; r < p.n; r++) keys += p.keyCount[r];
  const int64_t items = p.n * ((p.heads + kHeadBlock - 1) / kHeadBlock);
  const int64_t cost = p.n > 0 ? keys / p.n * kHeadBlock * p.d * 2 : 0;
  megamoe::parallelFor(items, threads, grainFor(cost), [&](int64_t begin, int64_t end) { k.attend(p, begin, end); });
}

}  // namespace attention
