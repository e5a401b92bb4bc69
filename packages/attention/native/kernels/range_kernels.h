// One table per instruction set. A function computes a range of independent items on the calling thread; which range an
// item falls into never changes its result. `scratch` is 64-byte aligned, of as many floats as the function above it
// says, the thread's own.
#pragma once

#include "../params.h"

namespace attention {

struct KernelTable {
  const char* name;
  // Multiply-adds that make a range worth another thread.
  int64_t rangeWork;
  int64_t (*attendScratch)(const AttendParams&);
  int64_t (*scoreScratch)(const IndexSelectParams&);
  // Items: rows of x, [0, rows).
  void (*rope)(const RopeParams&, int64_t begin, int64_t end);
  // Items: windows that become full, [0, closed). Reads the open memory, writes entries only.
  void (*compressWindows)(const CompressParams&, int64_t begin, int64_t end);
  // Items: entries [begin, end) against query row r; scores[w] for each of them. NaN becomes -Infinity.
  void (*indexScores)(const IndexSelectParams&, int64_t r, int64_t begin, int64_t end, float* scores, float* scratch);
  // The topk best of `visible` > topk scores, ascending. order [visible rounded up to kSelectPad] is scratch.
  void (*selectTop)(const float* scores, float* order, int64_t visible, int64_t topk, int32_t* selected);
  // Items: (row, block of headBlock heads), row-major, [0, rows * ceil(heads/headBlock)). With p.halves each is two, a
  // half of the keys each, and attendJoin comes after all.
  void (*attend)(const AttendParams&, int64_t begin, int64_t end, float* scratch);
  // Floats that p.halves has for each half; null, like attendJoin, where keys are never halved.
  int64_t (*attendHalf)(const AttendParams&);
  // Items: heads of rows, row-major, [0, rows * heads).
  void (*attendJoin)(const AttendParams&, int64_t begin, int64_t end);
};

extern const KernelTable kGenericKernels;
extern const KernelTable kAvx2Kernels;  // where the build has MEGAMOE_ATTENTION_X86
extern const KernelTable kAvx512Kernels;
extern const KernelTable kNeonKernels;  // where the build has MEGAMOE_ATTENTION_ARM64
extern const KernelTable kNeonDotprodKernels;

}  // namespace attention
