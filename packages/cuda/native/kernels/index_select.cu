#include "attention.h"
#include "device.cuh"

namespace megamoe::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kTile = 32;  // entries of a block: a lane for each

// Scores of 32 entries for one row: a warp takes every eighth head, and one warp adds the heads, ascending.
__global__ void __launch_bounds__(kThreads) scoreKernel(SelectParams p, std::int64_t row0) {
  extern __shared__ float memory[];
  const std::int64_t r = row0 + blockIdx.y;
  const std::int32_t visible = (p.step.positions[r] + 1) / 4, s = p.step.rowSequence[r];
  const std::int32_t w0 = static_cast<std::int32_t>(blockIdx.x) * kTile;
  if (visible <= p.topk || w0 >= visible) return;
  const int dim = static_cast<int>(p.dim), heads = static_cast<int>(p.heads);
  float* keys = memory;                     // [dim, kTile + 1]
  float* parts = keys + dim * (kTile + 1);  // [heads, kTile]
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  const int block = visible - w0 < kTile ? visible - w0 : kTile;
  for (int j = warp; j < kTile; j += kWarps) {
    const float* row = j < block ? p.entries + p.entryPages.at(s, w0 + j) * dim : nullptr;
    for (int i = lane; i < dim; i += 32) keys[i * (kTile + 1) + j] = row == nullptr ? 0.f : row[i];
  }
  __syncthreads();
  const float dimScale = static_cast<float>(1.0 / sqrt(static_cast<double>(dim)));
  const float headScale = static_cast<float>(1.0 / sqrt(static_cast<double>(heads)));
  for (int h = warp; h < heads; h += kWarps) {
    const float* q = p.q + (r * heads + h) * dim;
    float dot[4] = {};
    int i = 0;
    for (; i + 4 <= dim; i += 4)
#pragma unroll
      for (int j = 0; j < 4; j++) dot[j] = fmaf(__ldg(q + i + j), keys[(i + j) * (kTile + 1) + lane], dot[j]);
    for (; i < dim; i++) dot[0] = fmaf(__ldg(q + i), keys[i * (kTile + 1) + lane], dot[0]);
    const float sum = (dot[0] + dot[1]) + (dot[2] + dot[3]);
    const float activated = sum <= 0.f ? 0.f : sum * dimScale;  // relu; a NaN goes on
    parts[h * kTile + lane] = activated * (p.headWeights[r * heads + h] * headScale);
  }
  __syncthreads();
  if (warp != 0 || lane >= block) return;
  float sum = 0.f;
  for (int h = 0; h < heads; h++) sum = sum + parts[h * kTile + lane];
  // A NaN ranks last; it still shows in the attention output.
  p.scores[blockIdx.y * p.mostVisible + w0 + lane] = isnan(sum) ? -INFINITY : sum;
}

// Floats as integers that order like them; both zeros are one.
__device__ __forceinline__ unsigned orderOf(float x) {
  const unsigned bits = __float_as_uint(x == 0.f ? 0.f : x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

constexpr int kSelectThreads = 512;
constexpr int kSelectWarps = kSelectThreads / 32;

// The topk best of a row: the value of the last one, eight bits at a time, then all above it and the first that equal
// it, in order.
__global__ void __launch_bounds__(kSelectThreads) selectKernel(SelectParams p, std::int64_t row0) {
  __shared__ std::int32_t counts[256];
  __shared__ unsigned prefix;
  __shared__ std::int32_t wanted;
  __shared__ std::int32_t warpAbove[kSelectWarps], warpTies[kSelectWarps];
  const std::int64_t r = row0 + blockIdx.x;
  const std::int32_t visible = (p.step.positions[r] + 1) / 4, topk = static_cast<std::int32_t>(p.topk);
  std::int32_t* selected = p.selected + r * topk;
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  if (visible <= topk) {
    for (std::int32_t w = t; w < topk; w += kSelectThreads) selected[w] = w < visible ? w : -1;
    return;
  }
  const float* scores = p.scores + blockIdx.x * p.mostVisible;
  if (t == 0) prefix = 0, wanted = topk;
  for (int shift = 24; shift >= 0; shift -= 8) {
    if (t < 256) counts[t] = 0;
    __syncthreads();
    const unsigned high = prefix;
    for (std::int32_t w = t; w < visible; w += kSelectThreads) {
      const unsigned order = orderOf(scores[w]);
      if (shift == 24 || order >> (shift + 8) == high >> (shift + 8)) atomicAdd(&counts[order >> shift & 255u], 1);
    }
    __syncthreads();
    if (t == 0) {
      int digit = 255;
      while (counts[digit] < wanted) wanted -= counts[digit--];
      prefix = high | static_cast<unsigned>(digit) << shift;
    }
    __syncthreads();
  }
  const unsigned last = prefix;  // the topk-th value; `wanted` of those that equal it are taken
  const std::int32_t ties = wanted;
  std::int32_t above = 0, equal = 0;  // before this round, of all threads
  for (std::int32_t w0 = 0; w0 < visible; w0 += kSelectThreads) {
    const std::int32_t w = w0 + t;
    const unsigned order = w < visible ? orderOf(scores[w]) : 0u;
    const bool isAbove = w < visible && order > last, isTie = w < visible && order == last;
    const unsigned mineAbove = __ballot_sync(0xffffffffu, isAbove), mineTies = __ballot_sync(0xffffffffu, isTie);
    if (lane == 0) warpAbove[warp] = __popc(mineAbove), warpTies[warp] = __popc(mineTies);
    __syncthreads();
    const unsigned lower = (1u << lane) - 1u;
    std::int32_t a = above + __popc(mineAbove & lower), e = equal + __popc(mineTies & lower);
    for (int i = 0; i < kSelectWarps; i++) {
      if (i < warp) a += warpAbove[i], e += warpTies[i];
      above += warpAbove[i], equal += warpTies[i];
    }
    if (isAbove || (isTie && e < ties)) selected[a + (e < ties ? e : ties)] = w;
    __syncthreads();
  }
}

}  // namespace

void indexSelect(const Launch& l, const SelectParams& p) {
  if (p.topk == 0) return;
  const std::size_t bytes = static_cast<std::size_t>(p.dim * (kTile + 1) + p.heads * kTile) * sizeof(float);
  cudaFuncSetAttribute(scoreKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  for (std::int64_t r = 0; r < p.step.rows; r += p.scoreRows) {
    const unsigned rows = static_cast<unsigned>(p.step.rows - r < p.scoreRows ? p.step.rows - r : p.scoreRows);
    if (p.mostVisible > p.topk) {
      const dim3 grid(static_cast<unsigned>(ceilDiv(p.mostVisible, kTile)), rows);
      scoreKernel<<<grid, kThreads, bytes, l.stream>>>(p, r);
    }
    selectKernel<<<rows, kSelectThreads, 0, l.stream>>>(p, r);
  }
}

}  // namespace megamoe::cuda
