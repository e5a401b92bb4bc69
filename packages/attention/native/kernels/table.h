// One table per instruction set. A function computes a range of independent items on the calling thread; which range an item falls
// into never changes its result.
#pragma once

#include "../params.h"

namespace attention {

struct KernelTable {
  const char* name;
  // Items: rows of x, [0, m).
  void (*rope)(const RopeParams&, int64_t begin, int64_t end);
  // Items: windows closed by this call, [0, closed). Reads the state, writes entries only.
  void (*compressWindows)(const CompressParams&, int64_t begin, int64_t end);
  // Items: entries [begin, end) against query row r; scores[w] for each of them. NaN becomes -Infinity.
  void (*indexScores)(const IndexSelectParams&, int64_t r, int64_t begin, int64_t end, float* scores);
  // Items: (row, block of kHeadBlock heads), row-major, [0, n * ceil(heads/kHeadBlock)).
  void (*attend)(const AttendParams&, int64_t begin, int64_t end);
};

extern const KernelTable kGenericKernels;

}  // namespace attention
