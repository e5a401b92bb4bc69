// What an instruction set provides for attention: functions that compute a range of independent items on the calling
// thread. Which range an item falls into never changes its result. operations.h makes the operations of them.
#pragma once

#include <cstdint>

#include "params.h"

namespace megamoe::attention {

// Arguments of attend with what its driver adds.
struct AttendJob : AttendParams {
  std::int64_t headBlock;  // heads that share one pass over the keys; never changes a result
  float* halves;           // null, or where to keep what each half of the keys gives
};

struct AttendSizes {  // in floats
  std::int64_t scratch = 0;
  std::int64_t half = 0;  // that AttendJob::halves has for each half; 0 where keys are never halved
};

// No two functions have the same type, so that none can stand in another's place. `scratch` is 64-byte aligned, of as
// many floats as the function above it says, the thread's own.
struct RangeKernels {
  // Multiply-adds that make a range worth another thread.
  std::int64_t rangeWork = 0;
  // Items: rows of x, [0, rows).
  void (*rope)(const RopeParams&, std::int64_t begin, std::int64_t end) = nullptr;
  // Items: windows that become full, [0, closed). Reads the open memory, writes entries only.
  void (*compressWindows)(const CompressParams&, std::int64_t begin, std::int64_t end) = nullptr;
  std::int64_t (*scoreScratch)(const IndexSelectParams&) = nullptr;
  // Items: entries [begin, end) against query row r; scores[w] for each of them. NaN becomes -Infinity.
  void (*indexScores)(const IndexSelectParams&, std::int64_t r, std::int64_t begin, std::int64_t end, float* scores,
                      float* scratch) = nullptr;
  // The topk best of `visible` > topk scores, ascending. order [visible rounded up to kSelectPad] is scratch.
  void (*selectTop)(const float* scores, float* order, std::int64_t visible, std::int64_t topk,
                    std::int32_t* selected) = nullptr;
  AttendSizes (*attendSizes)(const AttendJob&) = nullptr;
  // Items: (row, block of headBlock heads), row-major, [0, rows * ceil(heads/headBlock)). With halves each is two, a
  // half of the keys each, and attendJoin comes after all.
  void (*attend)(const AttendJob&, std::int64_t begin, std::int64_t end, float* scratch) = nullptr;
  // Items: heads of rows, row-major, [0, rows * heads). Null where keys are never halved.
  void (*attendJoin)(const AttendJob&, std::int64_t begin, std::int64_t end) = nullptr;
};

constexpr std::int64_t kSelectPad = 16;  // of the buffers of selectTop

}  // namespace megamoe::attention
