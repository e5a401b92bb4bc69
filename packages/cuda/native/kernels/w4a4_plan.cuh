// Which rows are multiplied together. Every block of a kernel plans for itself: a plan takes less time than a launch.
#pragma once

#include "device.cuh"
#include "jobs.h"

namespace megamoe::cuda {

// Rows of experts as the host knows them.
struct ExpertRows {
  const std::int32_t* ends;  // [experts]
  std::int64_t experts, slots;
  const float* alpha;  // [experts*parts]
  std::int64_t parts;
};

// Where the rows of expert e end.
__device__ __forceinline__ std::int32_t endOf(const ExpertRows& rows, int e, const Report& report) {
  const std::int32_t end = rows.ends[e];
  return report.planted(Plant::borderExpert) && end < rows.ends[rows.experts - 1] ? end + 1 : end;
}

// How many jobs of at most `tile` rows there are; `sums` [experts] in shared memory: those of an expert and all before
// it. Ends that are none give no jobs; they and alphas that are not finite are reported by the first block.
template <int Threads>
__device__ __forceinline__ int planInBlock(const ExpertRows& rows, int tile, const Report& report, std::int32_t* sums) {
  __shared__ std::int32_t warpSums[Threads / 32];
  __shared__ int isBad;
  const int t = threadIdx.x, lane = t % 32;
  if (t == 0) isBad = 0;
  __syncthreads();
  const int experts = static_cast<int>(rows.experts), share = (experts + Threads - 1) / Threads;
  const int first = t * share < experts ? t * share : experts, last = first + share < experts ? first + share : experts;
  std::int32_t count = 0;
  for (int e = first; e < last; e++) {
    const std::int32_t start = e == 0 ? 0 : endOf(rows, e - 1, report), end = endOf(rows, e, report);
    if (end < start || end > rows.slots) {
      if (blockIdx.x == 0) report(DataError::badEnds, e);
      isBad = 1;
    } else {
      count += (end - start + tile - 1) / tile;
      for (std::int64_t p = 0; blockIdx.x == 0 && end > start && p < rows.parts; p++)
        if (!isFinite(rows.alpha[e * rows.parts + p])) report(DataError::badAlpha, e * rows.parts + p);
    }
    sums[e] = count;
  }
  std::int32_t sum = count;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const std::int32_t before = __shfl_up_sync(0xffffffffu, sum, step);
    if (lane >= step) sum += before;
  }
  if (lane == 31) warpSums[t / 32] = sum;
  __syncthreads();
  std::int32_t before = sum - count, all = 0;
#pragma unroll
  for (int w = 0; w < Threads / 32; w++) {
    if (w < t / 32) before += warpSums[w];
    all += warpSums[w];
  }
  for (int e = first; e < last; e++) sums[e] += before;
  __syncthreads();
  return isBad ? 0 : all;
}

// Job `i` of a plan.
__device__ __forceinline__ Job findJob(const ExpertRows& rows, int tile, const std::int32_t* sums, int i,
                                       const Report& report) {
  const std::int32_t e = expertOf(sums, static_cast<std::int32_t>(rows.experts), i);
  const std::int32_t start = e == 0 ? 0 : endOf(rows, e - 1, report), end = endOf(rows, e, report);
  const std::int32_t row = start + (i - (e == 0 ? 0 : sums[e - 1])) * tile;
  return {e, row, end - row < tile ? end - row : tile};
}

}  // namespace megamoe::cuda
