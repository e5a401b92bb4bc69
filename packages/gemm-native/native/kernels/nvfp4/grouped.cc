// Compiled without instruction-set flags: grouping, threads and scratch; the work itself is in the kernels of each set.
//
// Rows are packed first (by all threads when it is worth it). Then threads take chunks of (expert, panels) from a common counter until
// none is left: chunks hold about the same work however tokens fall on experts, so that threads end together, also when one
// of them starts late. An output element is always computed by one thread in one order, so its bits do not depend on any of this.
#include "grouped.h"

#include <megamoe/thread_pool.h>

#include <algorithm>
#include <atomic>

#include "../parallel.h"

namespace megamoe::gemm::nvfp4 {

namespace {

constexpr std::int64_t kChunksPerThread = 32;
constexpr std::int64_t kPackPerThread = 1 << 16;  // elements of A that are worth waking a thread
constexpr std::int64_t kCostPerThread = 1000;     // the same in units of superblockCost, some 10 us

// Time of one superblock of one panel against `rows` rows, in arbitrary units: reading it, and computing with it.
std::int64_t superblockCost(std::int64_t rows) { return std::max<std::int64_t>(3, rows + 1); }

// A walk over the chunks of all experts in order.
class Chunks {
 public:
  Chunks(const GroupedParams& p, int threads) : p_(p), panels_(p.w->panels()), superblocks_(superblocksOf(p.w->k)) {
    std::int64_t start = 0;
    for (std::int64_t e = 0; e < p.w->matrices; e++) {
      total_ += p.expertOffsets[e] > start ? panelCost(p.expertOffsets[e] - start) * panels_ : 0;
      start = p.expertOffsets[e];
    }
    workers_ = static_cast<int>(std::clamp<std::int64_t>(total_ / kCostPerThread, 1, threads));
    chunkCost_ = workers_ == 1 ? total_ : total_ / (workers_ * kChunksPerThread);
  }

  int workers() const { return workers_; }

  // fn(e, start, end, firstPanel, lastPanel) for every chunk that this thread gets from `next`.
  template <class F>
  void take(std::atomic<std::int64_t>& next, F&& fn) const {
    std::int64_t start = 0, before = 0, mine = next.fetch_add(1);
    for (std::int64_t e = 0; e < p_.w->matrices; e++) {
      const std::int64_t end = p_.expertOffsets[e];
      if (end > start) {
        const std::int64_t step = std::clamp<std::int64_t>(chunkCost_ / panelCost(end - start), 1, panels_);
        const std::int64_t count = (panels_ + step - 1) / step;
        for (; mine < before + count; mine = next.fetch_add(1)) {
          const std::int64_t first = (mine - before) * step;
          fn(e, start, end, first, std::min(panels_, first + step));
        }
        before += count;
      }
      start = end;
    }
  }

 private:
  std::int64_t panelCost(std::int64_t rows) const { return superblocks_ * superblockCost(rows); }

  const GroupedParams& p_;
  const std::int64_t panels_, superblocks_;
  std::int64_t total_ = 0, chunkCost_ = 0;
  int workers_ = 1;
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
void grouped(const Kernels& kernels, const GroupedParams& p, const float* rowScale, bool rowFactors, int threads, Pack&& pack) {
  const Weight& w = *p.w;
  const std::int64_t rows = p.expertOffsets[w.matrices - 1], superblocks = superblocksOf(w.k);
  const std::int64_t rowBytes = superblocks * kernels.rowBytes;
  std::uint8_t* tiles = static_cast<std::uint8_t*>(scratchBytes(Slot::activations, static_cast<std::size_t>(rows * (rowBytes + 4))));
  float* factors = reinterpret_cast<float*>(tiles + rows * rowBytes);
  const std::int64_t tileTotal = allTiles(p);
  parallelFor(tileTotal, threads, tileTotal * kPackPerThread / (rows * w.k) + 1, [&](std::int64_t begin, std::int64_t end) {
    eachTile(p, begin, end, [&](std::int64_t row, std::int64_t count, std::int64_t groupRows) {
      pack(row, count, groupRows, tiles + row * rowBytes, factors + row);
    });
  });
  const Chunks chunks(p, threads);
  std::atomic<std::int64_t> next{0};
  parallelFor(chunks.workers(), chunks.workers(), 1, [&](std::int64_t, std::int64_t) {
    chunks.take(next, [&](std::int64_t e, std::int64_t start, std::int64_t end, std::int64_t first, std::int64_t last) {
      void* scratch = scratchBytes(Slot::panel, static_cast<std::size_t>(kernels.scratchBytes(end - start, superblocks)));
      for (std::int64_t panel = first; panel < last; panel++) {
        alignas(64) float alpha[kColumns];
        panelAlpha(p, e, panel, alpha);
        const std::int64_t c0 = panel * kColumns;
        kernels.panel({w.panel(e, panel), superblocks, tiles + start * rowBytes, end - start,
                       {alpha, rowFactors ? factors + start : nullptr, rowScale == nullptr ? nullptr : rowScale + start, p.out + start * w.n + c0, w.n,
                        static_cast<int>(std::min(kColumns, w.n - c0))},
                       scratch});
      }
    });
  });
}

}  // namespace

void groupedW4A4(const W4A4Kernels& kernels, const GroupedW4A4Params& p, int threads) {
  const std::int64_t k = p.w->k;
  const auto pack = [&](std::int64_t row, std::int64_t rows, std::int64_t groupRows, std::uint8_t* tile, float*) {
    kernels.packTile(p.aCodes + row * (k / 2), p.aSf + row * (k / kBlock), k, rows, groupRows, tile);
  };
  grouped(kernels, p, p.rowScale, false, threads, pack);
}

void groupedW4A16(const W4A16Kernels& kernels, const GroupedA16Params& p, int threads) {
  const std::int64_t k = p.w->k;
  const auto pack = [&](std::int64_t row, std::int64_t rows, std::int64_t groupRows, std::uint8_t* tile, float* rowFactor) {
    kernels.packTile(p.a + row * k, k, rows, groupRows, tile, rowFactor);
  };
  grouped(kernels, p, nullptr, true, threads, pack);
}

}  // namespace megamoe::gemm::nvfp4
