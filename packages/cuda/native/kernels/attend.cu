// A block for one row and a few heads: keys are read once for all of them. What is computed of a head is the same for
// any number of heads beside it.
#include "attention.h"
#include "device.cuh"
#include "kv.cuh"

namespace megamoe::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kKeys = 32;  // taken together: a lane for each in the softmax

// How many of a row's chosen entries there are: those before the first -1. Reports what is not visible, does not ascend
// or stands after it; there are none then.
__device__ __forceinline__ std::int32_t chosenOf(const AttendParams& p, std::int64_t r, std::int32_t visible,
                                                 const Report& report) {
  __shared__ std::int32_t count;
  __shared__ int isBad;
  if (threadIdx.x == 0) count = 0, isBad = 0;
  __syncthreads();
  const std::int32_t* chosen = p.selected + r * p.topk;
  for (std::int64_t j = threadIdx.x; j < p.topk; j += kThreads) {
    const std::int32_t w = chosen[j], last = j == 0 ? -1 : chosen[j - 1];
    if (w == -1) continue;
    if (w < 0 || w >= visible || (j > 0 && (last == -1 || w <= last))) {
      report(DataError::badSelected, r * p.topk + j);
      isBad = 1;
    }
    atomicAdd(&count, 1);
  }
  __syncthreads();
  return isBad ? 0 : count;
}

// Heads `Heads` of each block, of a row: the last block's may be fewer. Keys are held as `Kv` and widened as they are
// read: all that is computed with them is the same.
template <int Heads, int Columns, class Kv>
__global__ void __launch_bounds__(kThreads) attendKernel(AttendParams p, Report report) {
  extern __shared__ float memory[];
  const int d = static_cast<int>(p.d);
  float* keys = memory;                      // [kKeys, d]
  float* q = keys + kKeys * d;               // [Heads, d]
  float* weights = q + Heads * d;            // [Heads, kKeys]
  float* shrinks = weights + Heads * kKeys;  // [Heads]
  const std::int64_t r = blockIdx.x, h0 = blockIdx.y * std::int64_t{Heads};
  const int heads = p.heads - h0 < Heads ? static_cast<int>(p.heads - h0) : Heads;
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  const std::int32_t position = p.step.positions[r], s = p.step.rowSequence[r];
  const std::int32_t near = position + 1 < p.window ? position + 1 : p.window, first = position + 1 - near;
  const std::int32_t visible = p.ratio == 0 ? 0 : (position + 1) / p.ratio;
  const std::int32_t far = p.selected == nullptr ? visible : chosenOf(p, r, visible, report);
  const float* from = p.q + (r * p.heads + h0) * d;
  for (int i = t; i < heads * d; i += kThreads) q[i] = from[i];
  float acc[Heads][Columns] = {};
  float most = -INFINITY, sum = 0.f;  // of head `warp`, in all its lanes
  const std::int32_t count = near + far;
  for (std::int32_t k0 = 0; k0 < count; k0 += kKeys) {
    const int block = count - k0 < kKeys ? count - k0 : kKeys;
    __syncthreads();
    for (int j = warp; j < block; j += kWarps) {
      const std::int32_t key = k0 + j;
      const Kv* row;
      if (key < near) {
        row = static_cast<const Kv*>(p.windowMemory) + p.windowPages.at(s, first + key) * d;
      } else {
        const std::int32_t w = p.selected == nullptr ? key - near : p.selected[r * p.topk + key - near];
        row = static_cast<const Kv*>(p.entries) + p.entryPages.at(s, w) * d;
      }
      for (int i = lane; i < d; i += 32) keys[j * d + i] = widen(row[i]);
    }
    __syncthreads();
    for (int j = warp; j < block; j += kWarps) {
      float dot[Heads] = {};
      for (int i = lane; i < d; i += 32) {
        const float kv = keys[j * d + i];
#pragma unroll
        for (int h = 0; h < Heads; h++)
          if (h < heads) dot[h] = fmaf(q[h * d + i], kv, dot[h]);
      }
#pragma unroll
      for (int h = 0; h < Heads; h++) {
        const float score = warpSum(dot[h]) * p.softmaxScale;
        if (lane == 0 && h < heads) weights[h * kKeys + j] = score;
      }
    }
    __syncthreads();
    if (warp < heads) {
      const float score = lane < block ? weights[warp * kKeys + lane] : -INFINITY;
      const float top = fmaxf(most, warpMax(score));
      float shrink = 1.f, weight = 0.f;
      if (top != -INFINITY) {  // else nothing but weights of zero so far
        shrink = most == top ? 1.f : expf(most - top);
        weight = lane < block ? expf(score - top) : 0.f;
        sum = sum * shrink + warpSum(weight);
        most = top;
      } else if (__any_sync(0xffffffffu, isnan(score))) {
        sum = NAN;  // shows in the output
      }
      weights[warp * kKeys + lane] = weight;
      if (lane == 0) shrinks[warp] = shrink;
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < Columns; c++) {
      const int i = t + c * kThreads;
      if (i >= d) break;
#pragma unroll
      for (int h = 0; h < Heads; h++)
        if (h < heads) acc[h][c] = acc[h][c] * shrinks[h];
      for (int j = 0; j < block; j++) {
        const float kv = keys[j * d + i];
#pragma unroll
        for (int h = 0; h < Heads; h++)
          if (h < heads) acc[h][c] = fmaf(weights[h * kKeys + j], kv, acc[h][c]);
      }
    }
  }
  __syncthreads();
  if (warp < heads && lane == 0) {
    const float sink = report.planted(Plant::noSink) ? -INFINITY : p.sinks[h0 + warp];
    if (isnan(sink)) report(DataError::badSink, h0 + warp);
    float weight = 0.f;  // no keys, or a sink that takes everything
    if (!(sum == 0.f || sink == INFINITY)) {
      const float top = sink > most ? sink : most;
      const float keep = expf(most - top);
      weight = keep / (sum * keep + expf(sink - top));
    }
    shrinks[warp] = weight;
  }
  __syncthreads();
  float* out = p.out + (r * p.heads + h0) * d;
#pragma unroll
  for (int c = 0; c < Columns; c++) {
    const int i = t + c * kThreads;
    if (i >= d) break;
#pragma unroll
    for (int h = 0; h < Heads; h++)
      if (h < heads) out[h * d + i] = shrinks[h] == 0.f ? 0.f : acc[h][c] * shrinks[h];
  }
}

template <int Heads, int Columns, class Kv>
void launch(const Launch& l, const AttendParams& p) {
  const std::size_t bytes = static_cast<std::size_t>(kKeys * p.d + Heads * p.d + Heads * kKeys + Heads) * sizeof(float);
  cudaFuncSetAttribute(attendKernel<Heads, Columns, Kv>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(bytes));
  const dim3 grid(static_cast<unsigned>(p.step.rows), static_cast<unsigned>(ceilDiv(p.heads, Heads)));
  attendKernel<Heads, Columns, Kv><<<grid, kThreads, bytes, l.stream>>>(p, Report(l));
}

template <class Kv>
void attendAs(const Launch& l, const AttendParams& p) {
  if (p.d <= 512)
    launch<8, 2, Kv>(l, p);
  else
    launch<4, 4, Kv>(l, p);
}

}  // namespace

void attend(const Launch& l, const AttendParams& p) {
  if (p.type == KvType::bf16)
    attendAs<Bf16>(l, p);
  else
    attendAs<float>(l, p);
}

}  // namespace megamoe::cuda
