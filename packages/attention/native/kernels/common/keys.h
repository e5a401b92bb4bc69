// The keys of a query row: those of its window, then entries.
#pragma once

#include <cstdint>

#include "../params.h"

namespace megamoe::attention {

static inline std::int64_t keyCount(const AttendParams& p, std::int64_t r) {
  return static_cast<std::int64_t>(p.near.count[r]) + p.far.count[r];
}

static inline const float* keyRow(const AttendParams& p, std::int64_t r, std::int64_t j) {
  const std::int64_t near = p.near.count[r];
  if (j < near) return p.window + p.near.index[p.near.start[r] + j] * p.d;
  return p.entries + p.far.index[p.far.start[r] + j - near] * p.d;
}

}  // namespace megamoe::attention
