// Compiled without instruction-set flags: grouping, threads and scratch; the work itself is in the kernels of each set.
//
// Rows are packed first (by all threads when it is worth it). Then every (expert with rows, panel) is a unit of work,
// and each thread has a run of units of about the same cost however tokens fall on experts. It goes through its run in
// order, because kernels fetch what follows ahead of time; a thread that is done takes units from the end of another's
// run, so that all end together, also when one of them started late. An output element is always computed by one thread
// in one order: its bits do not depend on any of this.
#include "grouped.h"

#include <megamoe/thread_pool.h>

#include <algorithm>
#include <atomic>

#include "../parallel.h"

namespace megamoe::gemm::nvfp4 {

namespace {

constexpr std::int64_t kPackPerThread = 1 << 16;  // elements of A that are worth waking a thread
constexpr std::int64_t kCostPerThread = 1000;     // the same in units of superblockCost, some 10 us

// Time of one superblock of one panel against `rows` rows, in arbitrary units: reading it, and computing with it.
std::int64_t superblockCost(std::int64_t rows) { return std::max<std::int64_t>(3, rows + 1); }

struct Unit {
  std::int64_t expert, start, end, panel;  // rows [start, end)
};

// Units in order of (expert, panel); experts without rows have none.
class Units {
 public:
  explicit Units(const GroupedParams& p) : p_(p), panels_(p.w->panels()), superblocks_(superblocksOf(p.w->k)) {
    eachGroup([&](std::int64_t, std::int64_t start, std::int64_t end) {
      count_ += panels_;
      cost_ += panels_ * panelCost(end - start);
      return true;
    });
  }

  std::int64_t cost() const { return cost_; }

  // The unit before which there is `share` / `of` of the cost.
  std::int64_t boundary(std::int64_t share, std::int64_t of) const {
    const std::int64_t target = cost_ / of * share + cost_ % of * share / of;
    std::int64_t units = 0, before = 0, found = count_;
    eachGroup([&](std::int64_t, std::int64_t start, std::int64_t end) {
      const std::int64_t each = panelCost(end - start);
      if (before + panels_ * each > target) {
        found = units + (target - before) / each;
        return false;
      }
      before += panels_ * each;
      units += panels_;
      return true;
    });
    return found;
  }

  // A place in the order that moves; moving on by a few units is cheap.
  class Cursor {
   public:
    explicit Cursor(const Units& units) : units_(units) {}

    Unit at(std::int64_t index) {
      const std::int64_t group = index / units_.panels_;
      if (group < group_) group_ = -1, expert_ = -1;
      while (group_ < group) {
        expert_++;
        if (begin() < end()) group_++;
      }
      return {expert_, begin(), end(), index % units_.panels_};
    }

   private:
    std::int64_t begin() const { return expert_ == 0 ? 0 : units_.p_.expertOffsets[expert_ - 1]; }
    std::int64_t end() const { return units_.p_.expertOffsets[expert_]; }

    const Units& units_;
    std::int64_t group_ = -1, expert_ = -1;  // the group_-th expert that has rows
  };

 private:
  // fn(e, start, end) for every expert that has rows, until it returns false.
  template <class F>
  void eachGroup(F&& fn) const {
    std::int64_t start = 0;
    for (std::int64_t e = 0; e < p_.w->matrices; e++) {
      const std::int64_t end = p_.expertOffsets[e];
      if (end > start && !fn(e, start, end)) return;
      start = end;
    }
  }

  std::int64_t panelCost(std::int64_t rows) const { return superblocks_ * superblockCost(rows); }

  const GroupedParams& p_;
  const std::int64_t panels_, superblocks_;
  std::int64_t count_ = 0, cost_ = 0;
};

// What is left of each thread's run of units: the owner takes from the front, others from the back.
class Runs {
 public:
  Runs(const Units& units, int count) : count_(count) {
    for (int i = 0; i < count; i++) runs_[i].left = pack(units.boundary(i, count), units.boundary(i + 1, count));
  }

  // The next unit for thread i, or -1 when none is left anywhere.
  std::int64_t take(int i) {
    const std::int64_t own = takeFrom(runs_[i], true);
    if (own >= 0) return own;
    for (;;) {
      int longest = -1;
      std::int64_t most = 0;
      for (int j = 0; j < count_; j++) {
        const std::uint64_t left = runs_[j].left.load(std::memory_order_relaxed);
        if (size(left) > most) most = size(left), longest = j;
      }
      if (longest < 0) return -1;
      const std::int64_t other = takeFrom(runs_[longest], false);
      if (other >= 0) return other;
    }
  }

 private:
  struct alignas(64) Run {
    std::atomic<std::uint64_t> left{0};  // first unit, and one past the last, in 32 bits each
  };

  static std::uint64_t pack(std::int64_t begin, std::int64_t end) {
    return static_cast<std::uint64_t>(begin) << 32 | static_cast<std::uint64_t>(end);
  }
  static std::int64_t begin(std::uint64_t left) { return static_cast<std::int64_t>(left >> 32); }
  static std::int64_t end(std::uint64_t left) { return static_cast<std::int64_t>(left & 0xffffffffu); }
  static std::int64_t size(std::uint64_t left) { return end(left) - begin(left); }

  static std::int64_t takeFrom(Run& run, bool front) {
    std::uint64_t left = run.left.load(std::memory_order_relaxed);
    while (size(left) > 0) {
      const std::uint64_t rest = front ? pack(begin(left) + 1, end(left)) : pack(begin(left), end(left) - 1);
      if (run.left.compare_exchange_weak(left, rest, std::memory_order_relaxed))
        return front ? begin(left) : end(left) - 1;
    }
    return -1;
  }

  Run runs_[ThreadPool::kMaxThreads];
  const int count_;
};

// fn(row, rows, groupRows) for tiles [begin, end) of all experts.
template <class F>
void eachTile(const GroupedParams& p, std::int64_t begin, std::int64_t end, F&& fn) {
  std::int64_t start = 0, before = 0;
  for (std::int64_t e = 0; e < p.w->matrices && before < end; e++) {
    const std::int64_t rows = p.expertOffsets[e] - start, tiles = tileCount(rows);
    for (std::int64_t i = std::max(begin, before); i < std::min(end, before + tiles); i++) {
      const std::int64_t r0 = tileStart(rows, tiles, i - before), r1 = tileStart(rows, tiles, i - before + 1);
      fn(start + r0, r1 - r0, rows);
    }
    before += tiles;
    start = p.expertOffsets[e];
  }
}

std::int64_t allTiles(const GroupedParams& p) {
  std::int64_t start = 0, tiles = 0;
  for (std::int64_t e = 0; e < p.w->matrices; e++) {
    tiles += tileCount(p.expertOffsets[e] - start);
    start = p.expertOffsets[e];
  }
  return tiles;
}

// Columns [32*panel, ...) of expert e's alpha.
void panelAlpha(const GroupedParams& p, std::int64_t e, std::int64_t panel, float* out) {
  const std::int64_t n = p.w->n, perPart = n / p.parts;
  for (std::int64_t c = 0; c < kColumns; c++) {
    const std::int64_t column = std::min(panel * kColumns + c, n - 1);
    out[c] = p.alpha[e * p.parts + (column < perPart ? 0 : 1)];
  }
}

// Packs rows with pack(row, rows, groupRows, tile, rowFactor), then computes all panels.
template <class Kernels, class Pack>
void packAndMultiply(const Kernels& kernels, const GroupedParams& p, const float* rowScale, bool rowFactors,
                     int threads, Pack&& pack) {
  const Weight& w = *p.w;
  const std::int64_t rows = p.expertOffsets[w.matrices - 1], superblocks = superblocksOf(w.k);
  const std::int64_t rowBytes = superblocks * kernels.rowBytes;
  std::uint8_t* tiles =
      static_cast<std::uint8_t*>(scratchBytes(Slot::activations, static_cast<std::size_t>(rows * (rowBytes + 4))));
  float* factors = reinterpret_cast<float*>(tiles + rows * rowBytes);
  const std::int64_t tileTotal = allTiles(p);
  parallelFor(tileTotal, threads, tileTotal * kPackPerThread / (rows * w.k) + 1,
              [&](std::int64_t begin, std::int64_t end) {
    eachTile(p, begin, end, [&](std::int64_t row, std::int64_t count, std::int64_t groupRows) {
      pack(row, count, groupRows, tiles + row * rowBytes, factors + row);
    });
  });
  const Units units(p);
  const int workers = static_cast<int>(std::clamp<std::int64_t>(units.cost() / kCostPerThread, 1, threads));
  Runs runs(units, workers);
  parallelFor(workers, workers, 1, [&](std::int64_t begin, std::int64_t end) {
    Units::Cursor cursor(units);
    for (std::int64_t i = begin; i < end; i++)
      for (std::int64_t next = runs.take(static_cast<int>(i)); next >= 0; next = runs.take(static_cast<int>(i))) {
        const Unit u = cursor.at(next);
        const std::int64_t count = u.end - u.start, column = u.panel * kColumns;
        alignas(64) float alpha[kColumns];
        panelAlpha(p, u.expert, u.panel, alpha);
        PanelJob job;
        job.panel = w.panel(u.expert, u.panel);
        job.superblocks = superblocks;
        job.tiles = tiles + u.start * rowBytes;
        job.rows = count;
        job.out.alpha = alpha;
        job.out.rowFactor = rowFactors ? factors + u.start : nullptr;
        job.out.rowScale = rowScale == nullptr ? nullptr : rowScale + u.start;
        job.out.out = p.out + u.start * w.n + column;
        job.out.stride = w.n;
        job.out.columns = static_cast<int>(std::min(kColumns, w.n - column));
        job.scratch = scratchBytes(Slot::panel, static_cast<std::size_t>(kernels.scratchBytes(count, superblocks)));
        kernels.panel(job);
      }
  });
}

template <class Kernels>
void groupedA16(const Kernels& kernels, const GroupedA16Params& p, int threads) {
  const std::int64_t k = p.w->k;
  const auto pack = [&](std::int64_t row, std::int64_t rows, std::int64_t groupRows, std::uint8_t* tile,
                        float* rowFactor) { kernels.packTile(p.a + row * k, k, rows, groupRows, tile, rowFactor); };
  packAndMultiply(kernels, p, nullptr, true, threads, pack);
}

}  // namespace

void grouped(const W4A4Kernels& kernels, const GroupedW4A4Params& p, int threads) {
  const std::int64_t k = p.w->k;
  const auto pack = [&](std::int64_t row, std::int64_t rows, std::int64_t groupRows, std::uint8_t* tile, float*) {
    kernels.packTile(p.aCodes + row * (k / 2), p.aSf + row * (k / kBlock), k, rows, groupRows, tile);
  };
  packAndMultiply(kernels, p, p.rowScale, false, threads, pack);
}

void grouped(const W4A16Kernels& kernels, const GroupedW4A16Params& p, int threads) { groupedA16(kernels, p, threads); }

void grouped(const Bf16Kernels& kernels, const GroupedBf16Params& p, int threads) { groupedA16(kernels, p, threads); }

}  // namespace megamoe::gemm::nvfp4
