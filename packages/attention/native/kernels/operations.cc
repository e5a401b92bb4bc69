#include "operations.h"

#include <megamoe/thread_pool.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

namespace megamoe::attention {
namespace {

// Items per range such that a thread has at least some tens of microseconds of work; `cost` is multiply-adds an item.
std::int64_t grainFor(const RangeKernels& k, std::int64_t cost) {
  return std::max<std::int64_t>(1, k.rangeWork / std::max<std::int64_t>(1, cost));
}

enum class Use { range, call };  // what a thread may need at the same time

// Floats of the calling thread, 64-byte aligned, kept between calls, so that a warm step allocates nothing.
template <Use use = Use::range>
float* threadScratch(std::int64_t floats) {
  struct Kept {
    std::unique_ptr<float[]> block;
    std::int64_t size = 0;
  };
  static thread_local Kept kept;
  constexpr std::int64_t kAlign = 16;  // floats
  if (kept.size < floats + kAlign) {
    kept.block.reset(new float[static_cast<std::size_t>(floats + kAlign)]);
    kept.size = floats + kAlign;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(kept.block.get());
  return kept.block.get() + (64 - address % 64) % 64 / sizeof(float);
}

// Cuts [0, items) into ranges of about equal work and has fn(begin, end) run for each. cost(item) is multiply-adds.
template <class Cost, class F>
void parallelByWork(const RangeKernels& k, std::int64_t items, int threads, const Cost& cost, const F& fn) {
  constexpr int kMost = ThreadPool::kMaxThreads;
  std::int64_t total = 0;
  for (std::int64_t i = 0; i < items; i++) total += cost(i);
  const std::int64_t parts =
      std::min<std::int64_t>({std::max<std::int64_t>(1, total / k.rangeWork), items, threads, kMost});
  if (parts <= 1) {
    if (items > 0) fn(std::int64_t{0}, items);
    return;
  }
  std::int64_t bounds[kMost + 1] = {};
  std::int64_t done = 0, item = 0;
  for (std::int64_t part = 1; part < parts; part++) {
    for (; item < items && done * parts < total * part; item++) done += cost(item);
    bounds[part] = item;
  }
  bounds[parts] = items;
  parallelFor(parts, threads, 1, [&](std::int64_t begin, std::int64_t end) {
    if (bounds[begin] < bounds[end]) fn(bounds[begin], bounds[end]);
  });
}

constexpr std::int64_t kMaxHeadBlock = 64;
constexpr std::int64_t kMinHeadBlock = 16;  // a vector of heads

// Heads that share a pass over the keys, when a row gives `parts` items for each block of them. Few rows are cut into
// more blocks, so that every thread has some: each then reads the keys itself, and no result changes.
std::int64_t headBlockFor(const AttendParams& p, std::int64_t parts, int threads) {
  std::int64_t block = kMaxHeadBlock;
  while (block > kMinHeadBlock && parts * p.rows * ((p.heads + block - 1) / block) < threads) block /= 2;
  return std::min(block, p.heads);
}

constexpr std::int64_t kJoinGrain = 16;  // heads
constexpr std::int64_t kCopyCost = 4;    // multiply-adds that take as long as a float that is copied

constexpr std::int64_t kEntryBlock = 64;  // entries of one item of the scoring pass
constexpr std::int64_t kScoreBudget = std::int64_t{1}
                                      << 22;  // scores held at a time (16 MB), unless one row needs more

// Rows of a call whose entries must be scored, and the first item of each among those of a batch of them. Kept between
// calls by each calling thread, so that a warm step allocates nothing.
struct ScoredRows {
  std::vector<std::int64_t> rows, firstItem;
  std::vector<float> scores;  // and then as many for the selection
};

std::int64_t itemsOf(const IndexSelectParams& p, std::int64_t r) {
  return (p.visible[r] + kEntryBlock - 1) / kEntryBlock;
}

// Scores and selects the rows [from, to) of `s.rows`, which have `items` items.
void selectBatch(const RangeKernels& k, const IndexSelectParams& p, ScoredRows& s, std::int64_t from, std::int64_t to,
                 std::int64_t items, int threads) {
  const std::int64_t* const first = s.firstItem.data() + from;
  const std::int64_t count = to - from;
  const auto size = static_cast<std::size_t>(2 * items * kEntryBlock);
  if (s.scores.size() < size) s.scores.resize(size);
  float* const scores = s.scores.data();
  float* const order = scores + items * kEntryBlock;
  const std::int64_t cost = kEntryBlock * p.heads * p.dim;
  parallelFor(items, threads, grainFor(k, cost), [&](std::int64_t begin, std::int64_t end) {
    float* const scratch = threadScratch(k.scoreScratch(p));
    std::int64_t i = std::upper_bound(first, first + count, begin) - first - 1;
    for (; begin < end; i++) {  // all of this range's entries of a row at once
      const std::int64_t r = s.rows[static_cast<std::size_t>(from + i)];
      const std::int64_t stop = i + 1 < count ? std::min(end, first[i + 1]) : end;
      const std::int64_t last = std::min<std::int64_t>((stop - first[i]) * kEntryBlock, p.visible[r]);
      k.indexScores(p, r, (begin - first[i]) * kEntryBlock, last, scores + first[i] * kEntryBlock, scratch);
      begin = stop;
    }
  });
  const auto rowOf = [&](std::int64_t i) { return s.rows[static_cast<std::size_t>(from + i)]; };
  const auto select = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) {
      const std::int64_t r = rowOf(i), at = first[i] * kEntryBlock;
      k.selectTop(scores + at, order + at, p.visible[r], p.topk, p.selected + r * p.topk);
    }
  };
  parallelByWork(
      k, count, threads, [&](std::int64_t i) { return p.visible[rowOf(i)] * std::int64_t{32}; }, select);
}

}  // namespace

void rope(const RangeKernels& k, const RopeParams& p, int threads) {
  parallelFor(p.rows, threads, grainFor(k, p.heads * p.ropeDim * 2),
              [&](std::int64_t begin, std::int64_t end) { k.rope(p, begin, end); });
}

void writeWindow(const RangeKernels& k, const WriteWindowParams& p, int threads) {
  parallelFor(p.rows, threads, grainFor(k, p.d * kCopyCost), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; r++)
      std::memcpy(p.window + p.to[r] * p.d, p.kv + r * p.d, static_cast<std::size_t>(p.d) * sizeof(float));
  });
}

void compress(const RangeKernels& k, const CompressParams& p, int threads) {
  parallelFor(p.rows, threads, grainFor(k, 2 * p.width * kCopyCost), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; r++) {
      const float *kv = p.kv + r * p.width, *gate = p.gate + r * p.width, *ape = p.ape + p.apeRow[r] * p.width;
      float* const openGate = p.openGate + p.openRow[r] * p.width;
      std::memcpy(p.openKv + p.openRow[r] * p.width, kv, static_cast<std::size_t>(p.width) * sizeof(float));
      for (std::int64_t c = 0; c < p.width; c++) openGate[c] = gate[c] + ape[c];
    }
  });
  parallelFor(p.closed, threads, grainFor(k, p.candidatesPerEntry * p.dim * 24),
              [&](std::int64_t begin, std::int64_t end) { k.compressWindows(p, begin, end); });
}

void indexSelect(const RangeKernels& k, const IndexSelectParams& p, int threads) {
  // Rows that see no more than topk entries take them all, without scores.
  static thread_local ScoredRows scored;
  scored.rows.clear();
  for (std::int64_t r = 0; r < p.rows; r++) {
    if (p.visible[r] > p.topk) {
      if (p.topk > 0) scored.rows.push_back(r);
      continue;
    }
    std::int32_t* const row = p.selected + r * p.topk;
    for (std::int64_t w = 0; w < p.topk; w++) row[w] = w < p.visible[r] ? static_cast<std::int32_t>(w) : -1;
  }
  const auto count = static_cast<std::int64_t>(scored.rows.size());
  scored.firstItem.resize(scored.rows.size());
  std::int64_t from = 0, items = 0;
  for (std::int64_t i = 0; i < count; i++) {
    const std::int64_t more = itemsOf(p, scored.rows[static_cast<std::size_t>(i)]);
    if (i > from && (items + more) * kEntryBlock > kScoreBudget) {
      selectBatch(k, p, scored, from, i, items, threads);
      from = i;
      items = 0;
    }
    scored.firstItem[static_cast<std::size_t>(i)] = items;
    items += more;
  }
  if (from < count) selectBatch(k, p, scored, from, count, items, threads);
}

void attend(const RangeKernels& k, const AttendParams& p, int threads) {
  if (p.rows == 0) return;
  const auto keysOf = [&](std::int64_t r) { return static_cast<std::int64_t>(p.near.count[r]) + p.far.count[r]; };
  std::int64_t keys = 0;
  for (std::int64_t r = 0; r < p.rows; r++) keys += keysOf(r);
  // Few rows: each half of their keys is an item of its own, so that no two threads read the same keys before there are
  // more than two threads a row.
  const std::int64_t work = keys * p.heads * p.d * 2;
  const bool few = p.rows * ((p.heads + kMaxHeadBlock - 1) / kMaxHeadBlock) < threads;
  const std::int64_t parts = few && k.attendJoin != nullptr && work >= 2 * k.rangeWork ? 2 : 1;
  AttendJob job{p, headBlockFor(p, parts, threads), nullptr};
  const std::int64_t rowItems = parts * ((p.heads + job.headBlock - 1) / job.headBlock), items = p.rows * rowItems;
  const AttendSizes sizes = k.attendSizes(job);
  if (parts == 2) job.halves = threadScratch<Use::call>(items * sizes.half);
  parallelByWork(
      k, items, threads, [&](std::int64_t item) { return keysOf(item / rowItems) * job.headBlock * p.d * 2 / parts; },
      [&](std::int64_t begin, std::int64_t end) { k.attend(job, begin, end, threadScratch(sizes.scratch)); });
  if (parts == 2)
    parallelFor(p.rows * p.heads, threads, kJoinGrain,
                [&](std::int64_t begin, std::int64_t end) { k.attendJoin(job, begin, end); });
}

}  // namespace megamoe::attention
