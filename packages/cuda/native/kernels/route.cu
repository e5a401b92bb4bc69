#include "device.cuh"
#include "route.h"

namespace megamoe::cuda {

namespace {

// Score of a logit but for softmax, float32 after each step as a float32 run of torch does.
__device__ __forceinline__ float scoreOf(Scoring scoring, float x) {
  if (scoring == Scoring::sigmoid) {
    const float below = static_cast<float>(1.0 + static_cast<double>(static_cast<float>(exp(-static_cast<double>(x)))));
    return 1.f / below;
  }
  const float e = static_cast<float>(exp(static_cast<double>(x)));
  const float softplus = x > 20.f ? x : static_cast<float>(log1p(static_cast<double>(e)));
  return static_cast<float>(sqrt(static_cast<double>(softplus)));
}

__device__ void softmax(const float* logits, int experts, float* scores) {
  const int lane = threadIdx.x;
  float most = -INFINITY;
  for (int e = lane; e < experts; e += 32) most = fmaxf(most, logits[e]);
  most = warpMax(most);
  for (int e = lane; e < experts; e += 32) scores[e] = static_cast<float>(exp(static_cast<double>(logits[e] - most)));
  __syncwarp();
  double sum = 0;
  if (lane == 0)
    for (int e = 0; e < experts; e++) sum += scores[e];
  const float total = __shfl_sync(0xffffffffu, static_cast<float>(sum), 0);
  for (int e = lane; e < experts; e += 32) scores[e] = scores[e] / total;
}

// One warp a token. shared: scores, then scores with bias, of which those taken become NaN.
__global__ void routeKernel(RouteParams p, Report report) {
  extern __shared__ float shared[];
  const std::int64_t row = blockIdx.x;
  const int experts = static_cast<int>(p.numExperts), topk = static_cast<int>(p.topk), lane = threadIdx.x;
  float* scores = shared;
  float* left = shared + experts;
  const float* logits = p.logits + row * experts;
  for (int e = lane; e < experts; e += 32) {
    if (!isFinite(logits[e])) report(DataError::notFinite, row * experts + e);
    if (p.scoring != Scoring::softmax) scores[e] = scoreOf(p.scoring, logits[e]);
    if (p.bias != nullptr && isnan(p.bias[e])) report(DataError::badBias, e);
  }
  __syncwarp();
  if (p.scoring == Scoring::softmax) softmax(logits, experts, scores);
  __syncwarp();
  std::int32_t* ids = p.topkIds + row * topk;
  if (p.tid2eid != nullptr && p.tokenIds != nullptr) {
    std::int64_t token = p.tokenIds[row];
    if (token < 0 || token >= p.vocab) {
      if (lane == 0) report(DataError::badToken, row);
      token = 0;
    }
    for (int j = lane; j < topk; j += 32) {
      std::int32_t e = p.tid2eid[token * topk + j];
      if (e < 0 || e >= experts) {
        report(DataError::badExpert, token * topk + j);
        e = 0;
      }
      ids[j] = e;
    }
  } else {
    for (int e = lane; e < experts; e += 32) {
      const float s = p.bias == nullptr ? scores[e] : scores[e] + p.bias[e];
      left[e] = isnan(s) ? -INFINITY : s;
    }
    __syncwarp();
    for (int j = 0; j < topk; j++) {
      float best = 0.f;
      int at = experts;  // none
      for (int e = lane; e < experts; e += 32) {
        const float s = left[e];
        if (!isnan(s) && (at == experts || s > best)) best = s, at = e;
      }
#pragma unroll
      for (int half = 16; half > 0; half /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, best, half);
        const int where = __shfl_xor_sync(0xffffffffu, at, half);
        const bool isBetter = where < experts && (at == experts || other > best || (other == best && where < at));
        if (isBetter) best = other, at = where;
      }
      if (lane == 0) {
        ids[j] = at;
        left[at] = NAN;
      }
      __syncwarp();
    }
  }
  __syncwarp();
  if (lane != 0) return;
  float divisor = 1.f;
  if (p.normalise && !report.planted(Plant::rawWeights)) {
    float sum = 0.f;
    for (int j = 0; j < topk; j++) sum = sum + scores[ids[j]];
    divisor = sum + 1e-20f;
  }
  for (int j = 0; j < topk; j++) p.topkWeights[row * topk + j] = scores[ids[j]] / divisor * p.factor;
}

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;

// The expert of choice i, or -1.
__device__ __forceinline__ std::int32_t choice(const std::int32_t* ids, std::int64_t i, std::int64_t n,
                                               std::int64_t experts) {
  const std::int32_t e = i < n ? ids[i] : -1;
  return e < 0 || e >= experts ? -1 : e;
}

// One block: counts, a scan, and a warp for each expert that goes through all choices in order.
__global__ void slotsKernel(const std::int32_t* ids, std::int64_t n, std::int64_t topk, std::int64_t experts,
                            std::int32_t* ends, std::int32_t* slotToken, std::int32_t* tokenSlots, Report report) {
  extern __shared__ std::int32_t starts[];  // [experts]
  __shared__ std::int32_t sums[kThreads];
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  for (std::int64_t e = t; e < experts; e += kThreads) starts[e] = 0;
  __syncthreads();
  for (std::int64_t i = t; i < n; i += kThreads) {
    if (ids[i] < -1 || ids[i] >= experts) report(DataError::index, i);
    const std::int32_t e = choice(ids, i, n, experts);
    if (e >= 0)
      atomicAdd(&starts[e], 1);
    else
      tokenSlots[i] = -1;
  }
  __syncthreads();
  const std::int64_t share = (experts + kThreads - 1) / kThreads;
  const std::int64_t first = t * share, last = first + share < experts ? first + share : experts;
  std::int32_t sum = 0;
  for (std::int64_t e = first; e < last; e++) sum += starts[e];
  sums[t] = sum;
  __syncthreads();
  for (int step = 1; step < kThreads; step *= 2) {
    const std::int32_t before = t >= step ? sums[t - step] : 0;
    __syncthreads();
    sums[t] += before;
    __syncthreads();
  }
  const std::int32_t all = sums[kThreads - 1];
  std::int32_t end = sums[t] - sum;
  for (std::int64_t e = first; e < last; e++) {
    const std::int32_t count = starts[e];
    starts[e] = end;
    end += count;
    ends[e] = end;
  }
  __syncthreads();
  for (std::int64_t e = warp; e < experts; e += kWarps) {
    std::int32_t slot = starts[e];
    const std::int32_t stop = e + 1 < experts ? starts[e + 1] : all;
    for (std::int64_t i0 = 0; i0 < n && slot < stop; i0 += 32) {
      const std::int64_t i = i0 + lane;
      const bool isMine = choice(ids, i, n, experts) == e;
      const unsigned mine = __ballot_sync(0xffffffffu, isMine);
      if (isMine) {
        const std::int32_t at = slot + __popc(mine & ((1u << lane) - 1u));
        slotToken[at] = static_cast<std::int32_t>(i / topk);
        tokenSlots[i] = at;
      }
      slot += __popc(mine);
    }
  }
  for (std::int64_t i = all + t; i < n; i += kThreads) slotToken[i] = -1;
}

}  // namespace

void route(const Launch& l, const RouteParams& p) {
  const std::size_t bytes = static_cast<std::size_t>(2 * p.numExperts) * sizeof(float);
  if (bytes > 48 * 1024)
    cudaFuncSetAttribute(routeKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  routeKernel<<<static_cast<unsigned>(p.rows), 32, bytes, l.stream>>>(p, Report(l));
}

void assignSlots(const Launch& l, const std::int32_t* topkIds, std::int64_t rows, std::int64_t topk,
                 std::int64_t numExperts, std::int32_t* ends, std::int32_t* slotToken, std::int32_t* tokenSlots) {
  const std::size_t bytes = static_cast<std::size_t>(numExperts) * sizeof(std::int32_t);
  slotsKernel<<<1, kThreads, bytes, l.stream>>>(topkIds, rows * topk, topk, numExperts, ends, slotToken, tokenSlots,
                                                Report(l));
}

}  // namespace megamoe::cuda
