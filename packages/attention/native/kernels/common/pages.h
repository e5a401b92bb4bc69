// Where entries of a query row lie.
#pragma once

#include <cstdint>

#include "../params.h"

namespace megamoe::attention {

// Entry w of row r.
static inline const float* entryOf(const IndexSelectParams& p, std::int64_t r, std::int64_t w) {
  const std::int64_t page = p.pageIds[p.pageBase[r] + w / p.pageRows];
  return p.entries + (page * p.pageRows + w % p.pageRows) * p.dim;
}

// How many of the entries from w on lie in its page.
static inline std::int64_t leftInPage(const IndexSelectParams& p, std::int64_t w) {
  return p.pageRows - w % p.pageRows;
}

}  // namespace megamoe::attention
