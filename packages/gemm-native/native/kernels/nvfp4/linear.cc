// Compiled without instruction-set flags. Grouped kernels want the rows of a group together, [groups, M, *], while x
// and out are [M, groups, *]: with one row or one group that is the same, else rows are copied on the way in (or
// gathered by staging) and out.
#include "linear.h"

#include <megamoe/thread_pool.h>

#include <algorithm>
#include <cstring>

#include "../parallel.h"

namespace megamoe::gemm::nvfp4 {

namespace {

constexpr std::int64_t kCopyPerThread = 1 << 16;  // floats that are worth waking a thread

// Scratch cut into arrays that begin on cache lines.
class Arena {
 public:
  template <class T>
  std::int64_t reserve(std::int64_t count) {
    const std::int64_t at = bytes_;
    bytes_ += (count * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
    return at;
  }
  void allocate() { data_ = static_cast<std::uint8_t*>(scratchBytes(Slot::linear, static_cast<std::size_t>(bytes_))); }
  template <class T>
  T* at(std::int64_t place) const {
    return reinterpret_cast<T*>(data_ + place);
  }

 private:
  std::int64_t bytes_ = 0;
  std::uint8_t* data_ = nullptr;
};

// to[g, r] = from[r, g] for rows of `width` floats, or the other way round.
void transposeRows(const float* from, std::int64_t m, std::int64_t groups, std::int64_t width, bool toGroups, float* to,
                   int threads) {
  parallelFor(m * groups, threads, 1 + kCopyPerThread / width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) {
      const std::int64_t g = i / m, r = i % m, together = i * width, apart = (r * groups + g) * width;
      std::memcpy(to + (toGroups ? together : apart), from + (toGroups ? apart : together),
                  static_cast<std::size_t>(width) * sizeof(float));
    }
  });
}

void fillEnds(std::int64_t groups, std::int64_t m, std::int32_t* ends) {
  for (std::int64_t g = 0; g < groups; g++) ends[g] = static_cast<std::int32_t>((g + 1) * m);
}

}  // namespace

void linearW4A16(const KernelTable& table, const LinearNvfp4Params& p, bool bf16, int threads) {
  if (p.m == 0) return;
  const std::int64_t groups = p.w->matrices, rows = p.m * groups;
  const bool isApart = groups > 1 && p.m > 1;
  Arena arena;
  const std::int64_t ends = arena.reserve<std::int32_t>(groups), x = arena.reserve<float>(isApart ? rows * p.w->k : 0),
                     out = arena.reserve<float>(isApart ? rows * p.w->n : 0);
  arena.allocate();
  fillEnds(groups, p.m, arena.at<std::int32_t>(ends));
  GroupedA16Params g{};
  g.w = p.w, g.parts = p.parts, g.alpha = p.alpha, g.expertOffsets = arena.at<std::int32_t>(ends);
  g.a = isApart ? arena.at<float>(x) : p.x;
  g.out = isApart ? arena.at<float>(out) : p.out;
  if (isApart) transposeRows(p.x, p.m, groups, p.w->k, true, arena.at<float>(x), threads);
  if (bf16)
    table.groupedBf16({g}, threads);
  else
    table.groupedW4A16({g}, threads);
  if (isApart) transposeRows(g.out, p.m, groups, p.w->n, false, p.out, threads);
}

std::int64_t linearW4A4(const KernelTable& table, const LinearNvfp4Params& p, int threads) {
  if (p.m == 0) return -1;
  const std::int64_t groups = p.w->matrices, rows = p.m * groups, k = p.w->k;
  const bool isApart = groups > 1 && p.m > 1, isDynamic = p.inputScale == 0;
  Arena arena;
  const std::int64_t ends = arena.reserve<std::int32_t>(groups), scales = arena.reserve<float>(groups),
                     slots = arena.reserve<std::int32_t>(isApart ? rows : 0),
                     rowScale = arena.reserve<float>(isDynamic ? rows : 0),
                     codes = arena.reserve<std::uint8_t>(rows * k / 2),
                     sf = arena.reserve<std::uint8_t>(rows * k / kBlock),
                     out = arena.reserve<float>(isApart ? rows * p.w->n : 0);
  arena.allocate();
  fillEnds(groups, p.m, arena.at<std::int32_t>(ends));
  std::fill_n(arena.at<float>(scales), groups, p.inputScale);
  for (std::int64_t i = 0; isApart && i < rows; i++)
    arena.at<std::int32_t>(slots)[i] = static_cast<std::int32_t>(i % p.m * groups + i / p.m);
  StageParams s{};
  s.x = p.x, s.k = k, s.slotToken = isApart ? arena.at<std::int32_t>(slots) : nullptr, s.rows = rows;
  s.expertOffsets = arena.at<std::int32_t>(ends), s.experts = groups, s.globalDecodeScale = arena.at<float>(scales);
  s.rowScale = isDynamic ? arena.at<float>(rowScale) : nullptr;
  s.codes = arena.at<std::uint8_t>(codes), s.sf = arena.at<std::uint8_t>(sf);
  const std::int64_t bad = table.stage(s, threads);
  if (bad >= 0) return bad;
  GroupedW4A4Params g{};
  g.w = p.w, g.parts = p.parts, g.alpha = p.alpha, g.expertOffsets = s.expertOffsets;
  g.aCodes = s.codes, g.aSf = s.sf, g.rowScale = s.rowScale;
  g.out = isApart ? arena.at<float>(out) : p.out;
  table.groupedW4A4(g, threads);
  if (isApart) transposeRows(g.out, p.m, groups, p.w->n, false, p.out, threads);
  return -1;
}

}  // namespace megamoe::gemm::nvfp4
