#include "ops.h"

#include <megamoe/thread_pool.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

namespace attention {
namespace {

// Items per range such that a thread has at least some tens of microseconds of work; `cost` is multiply-adds an item.
int64_t grainFor(const KernelTable& k, int64_t cost) {
  return std::max<int64_t>(1, k.rangeWork / std::max<int64_t>(1, cost));
}

enum class Use { range, call };  // what a thread may need at the same time

// Floats of the calling thread, 64-byte aligned, kept between calls, so that a warm step allocates nothing.
template <Use use = Use::range>
float* threadScratch(int64_t floats) {
  struct Kept {
    std::unique_ptr<float[]> block;
    int64_t size = 0;
  };
  static thread_local Kept kept;
  constexpr int64_t kAlign = 16;  // floats
  if (kept.size < floats + kAlign) {
    kept.block.reset(new float[static_cast<size_t>(floats + kAlign)]);
    kept.size = floats + kAlign;
  }
  const auto address = reinterpret_cast<uintptr_t>(kept.block.get());
  return kept.block.get() + (64 - address % 64) % 64 / sizeof(float);
}

// Keeps the rows of this call at positions [begin, end) in the open-window buffer; gates get their ape here.
void storePartial(const CompressParams& p, int64_t begin, int64_t end) {
  for (int64_t position = begin; position < end; position++) {
    const int64_t slot = position % p.ratio * p.width;
    const int64_t row = (p.row0 + position - p.p0) * p.width;
    std::memcpy(p.partialKv + slot, p.kv + row, static_cast<size_t>(p.width) * sizeof(float));
    for (int64_t c = 0; c < p.width; c++) p.partialGate[slot + c] = p.gate[row + c] + p.ape[slot + c];
  }
}

constexpr int64_t kMaxHeadBlock = 64;
constexpr int64_t kMinHeadBlock = 16;  // a vector of heads

// Heads that share a pass over the keys, when a row gives `parts` items for each block of them. Few rows are cut into
// more blocks, so that every thread has some: each then reads the keys itself, and no result changes.
int64_t headBlockFor(const AttendParams& p, int64_t parts, int threads) {
  int64_t block = kMaxHeadBlock;
  while (block > kMinHeadBlock && parts * p.n * ((p.heads + block - 1) / block) < threads) block /= 2;
  return std::min(block, p.heads);
}

constexpr int64_t kJoinGrain = 16;  // heads

constexpr int64_t kEntryBlock = 64;                 // entries of one item of the scoring pass
constexpr int64_t kScoreBudget = int64_t{1} << 22;  // scores held at a time (16 MB), unless one row needs more

}  // namespace

void runRope(const KernelTable& k, const RopeParams& p, int threads) {
  megamoe::parallelFor(p.m, threads, grainFor(k, p.heads * p.ropeDim * 2),
                       [&](int64_t begin, int64_t end) { k.rope(p, begin, end); });
}

void runCompress(const KernelTable& k, const CompressParams& p, int threads) {
  const int64_t p1 = p.p0 + p.n;
  const int64_t closed = p1 / p.ratio - p.p0 / p.ratio;
  megamoe::parallelFor(closed, threads, grainFor(k, p.ratio * p.width * 24),
                       [&](int64_t begin, int64_t end) { k.compressWindows(p, begin, end); });
  const int64_t open = p1 / p.ratio * p.ratio;  // first position of the window that is open now
  if (closed > 0 && p.width == 2 * p.dim) {
    // Completes the last closed window, then its first half is kept.
    storePartial(p, std::max(p.p0, open - p.ratio), open);
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
  const int64_t most = (visibleTo(p.n - 1) + kSelectPad - 1) / kSelectPad * kSelectPad;
  const int64_t rows = std::clamp<int64_t>(kScoreBudget / most, 1, p.n - scored);
  // Kept between calls by each calling thread, so that a warm step allocates nothing.
  static thread_local std::vector<float> kept;
  if (kept.size() < static_cast<size_t>(2 * rows * most)) kept.resize(static_cast<size_t>(2 * rows * most));
  float* const scores = kept.data();
  float* const order = scores + rows * most;
  const int64_t blocks = (most + kEntryBlock - 1) / kEntryBlock;
  for (int64_t r0 = scored; r0 < p.n; r0 += rows) {
    const int64_t batch = std::min(rows, p.n - r0);
    const int64_t cost = kEntryBlock * p.heads * p.dim;
    megamoe::parallelFor(batch * blocks, threads, grainFor(k, cost), [&](int64_t begin, int64_t end) {
      float* const scratch = threadScratch(k.scoreScratch(p));
      while (begin < end) {  // all of this range's entries of a row at once
        const int64_t r = begin / blocks;
        const int64_t stop = std::min(end, (r + 1) * blocks);
        const int64_t first = begin % blocks * kEntryBlock;
        const int64_t last = std::min((stop - r * blocks) * kEntryBlock, visibleTo(r0 + r));
        if (first < last) k.indexScores(p, r0 + r, first, last, scores + r * most, scratch);
        begin = stop;
      }
    });
    megamoe::parallelFor(batch, threads, grainFor(k, most * 32), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) {
        k.selectTop(scores + r * most, order + r * most, visibleTo(r0 + r), p.topk, p.selected + (r0 + r) * p.topk);
      }
    });
  }
}

void runAttend(const KernelTable& k, const AttendParams& params, int threads) {
  if (params.n == 0) return;
  AttendParams p = params;
  int64_t keys = 0;
  for (int64_t r = 0; r < p.n; r++) keys += p.keyCount[r];
  // Few rows: each half of their keys is an item of its own, so that no two threads read the same keys before there are
  // more than two threads a row.
  const int64_t work = keys * p.heads * p.d * 2;
  const bool few = p.n * ((p.heads + kMaxHeadBlock - 1) / kMaxHeadBlock) < threads;
  const int64_t parts = few && k.attendHalf != nullptr && work >= 2 * k.rangeWork ? 2 : 1;
  p.headBlock = headBlockFor(p, parts, threads);
  const int64_t blocks = p.n * ((p.heads + p.headBlock - 1) / p.headBlock), items = blocks * parts;
  p.halves = parts == 1 ? nullptr : threadScratch<Use::call>(items * k.attendHalf(p));
  megamoe::parallelFor(items, threads, grainFor(k, work / items),
                       [&](int64_t begin, int64_t end) { k.attend(p, begin, end, threadScratch(k.attendScratch(p))); });
  if (parts == 2)
    megamoe::parallelFor(p.n * p.heads, threads, kJoinGrain,
                         [&](int64_t begin, int64_t end) { k.attendJoin(p, begin, end); });
}

}  // namespace attention
