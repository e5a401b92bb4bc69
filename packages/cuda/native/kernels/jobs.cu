#include "device.cuh"
#include "jobs.h"

namespace megamoe::cuda {

namespace {

constexpr int kThreads = 1024;

__global__ void planKernel(const std::int32_t* ends, std::int64_t experts, std::int64_t slots, int tile,
                           const float* alpha, std::int64_t parts, Job* jobs, std::int64_t most, Report report) {
  __shared__ std::int32_t counts[kThreads];
  __shared__ int isBad;
  const int t = threadIdx.x;
  if (t == 0) isBad = 0;
  __syncthreads();
  const std::int64_t share = (experts + kThreads - 1) / kThreads;
  const std::int64_t first = t * share, last = first + share < experts ? first + share : experts;
  std::int32_t count = 0;
  for (std::int64_t e = first; e < last; e++) {
    const std::int32_t start = e == 0 ? 0 : ends[e - 1], end = ends[e];
    if (end < start || end > slots) {
      report(DataError::badEnds, e);
      isBad = 1;
    } else if (end > start) {
      count += (end - start + tile - 1) / tile;
      for (std::int64_t p = 0; alpha != nullptr && p < parts; p++)
        if (!isFinite(alpha[e * parts + p])) report(DataError::badAlpha, e * parts + p);
    }
  }
  counts[t] = count;
  __syncthreads();
  for (int step = 1; step < kThreads; step *= 2) {
    const std::int32_t before = t >= step ? counts[t - step] : 0;
    __syncthreads();
    counts[t] += before;
    __syncthreads();
  }
  const std::int64_t all = isBad ? 0 : counts[kThreads - 1];
  std::int64_t at = counts[t] - count;
  for (std::int64_t e = first; e < last && !isBad; e++) {
    const std::int32_t start = e == 0 ? 0 : ends[e - 1], end = ends[e];
    for (std::int32_t row = start; row < end; row += tile, at++)
      jobs[at] = {static_cast<std::int32_t>(e), row, end - row < tile ? end - row : tile};
  }
  for (std::int64_t i = all + t; i < most; i += kThreads) jobs[i] = {0, 0, 0};
}

__global__ void groupKernel(std::int64_t rows, std::int64_t groups, float scale, std::int32_t* slotRow,
                            std::int32_t* ends, float* scales) {
  const std::int64_t slot = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (slot < rows * groups) slotRow[slot] = static_cast<std::int32_t>(slot % rows * groups + slot / rows);
  if (slot >= groups) return;
  ends[slot] = static_cast<std::int32_t>((slot + 1) * rows);
  scales[slot] = scale;
}

}  // namespace

void groupRows(const Launch& l, std::int64_t rows, std::int64_t groups, float scale, std::int32_t* slotRow,
               std::int32_t* ends, float* scales) {
  groupKernel<<<static_cast<unsigned>(ceilDiv(rows * groups, kThreads)), kThreads, 0, l.stream>>>(
      rows, groups, scale, slotRow, ends, scales);
}

void planJobs(const Launch& l, const std::int32_t* ends, std::int64_t experts, std::int64_t slots, int tile,
              const float* alpha, std::int64_t parts, Job* jobs, std::int64_t most) {
  planKernel<<<1, kThreads, 0, l.stream>>>(ends, experts, slots, tile, alpha, parts, jobs, most, Report(l));
}

}  // namespace megamoe::cuda
