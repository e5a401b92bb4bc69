#include "decode.cuh"
#include "device.cuh"
#include "stage.h"

namespace megamoe::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kBlock = 16;

// Where a row comes from; negative: nowhere.
template <bool Swiglu>
__device__ __forceinline__ std::int64_t sourceOf(const StageRows& s, std::int64_t r, const Report& report) {
  if (Swiglu || s.slotToken == nullptr) return r;
  const std::int64_t from = s.slotToken[r];
  if (from >= 0 && from < s.below) return from;
  if (threadIdx.x == 0) report(DataError::index, r);
  return -1;
}

// Element c of the row that comes from `from`.
template <bool Swiglu>
__device__ __forceinline__ float valueOf(const StageRows& s, std::int64_t from, std::int64_t c) {
  if constexpr (!Swiglu) return s.x[from * s.k + c];
  const float* row = s.gateUp + from * 2 * s.k;
  return swigluOf(row[c], row[s.k + c], s.limit);
}

// Rows that experts have; 0 where the ends are none.
__device__ __forceinline__ std::int64_t rowsOf(const StageRows& s, const Report& report) {
  const std::int64_t rows = s.experts == 0 ? 0 : s.ends[s.experts - 1];
  if (rows >= 0 && rows <= s.slots) return rows;
  if (threadIdx.x == 0 && blockIdx.x == 0) report(DataError::badEnds, s.experts - 1);
  return 0;
}

template <bool Swiglu>
__global__ void floatKernel(StageRows s, float* out, Report report) {
  const std::int64_t r = blockIdx.x;
  if (r >= rowsOf(s, report)) return;
  const std::int64_t from = sourceOf<Swiglu>(s, r, report);
  if (from < 0) return;
  for (std::int64_t c = threadIdx.x; c < s.k; c += kThreads) out[r * s.k + c] = valueOf<Swiglu>(s, from, c);
}

// A row's own global scale; a row too small for one gets 1.
__device__ __forceinline__ float ownScale(float amax) {
  const float own = amax / 2688.f;  // 6 * 448
  return own < kMinGlobalScale ? 1.f : own;
}

template <bool Swiglu>
__global__ void nvfp4Kernel(StageRows s, const float* globalScale, std::uint8_t* codes, std::uint8_t* sf,
                            float* rowScale, Report report) {
  __shared__ float most[kWarps];
  const std::int64_t r = blockIdx.x;
  if (r >= rowsOf(s, report)) return;
  const std::int64_t from = sourceOf<Swiglu>(s, r, report);
  if (from < 0) return;
  float g;
  if (globalScale != nullptr) {
    const std::int32_t e = expertOf(s.ends, static_cast<std::int32_t>(s.experts), r);
    g = globalScale[e];
    if (!(g >= kMinGlobalScale && g < INFINITY)) {
      if (threadIdx.x == 0) report(DataError::badScale, e);
      g = 1.f;
    }
  } else {
    float amax = 0.f;
    for (std::int64_t c = threadIdx.x; c < s.k; c += kThreads) amax = fmaxf(amax, fabsf(valueOf<Swiglu>(s, from, c)));
    amax = warpMax(amax);
    if (threadIdx.x % 32 == 0) most[threadIdx.x / 32] = amax;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < kWarps; w++) amax = fmaxf(amax, most[w]);
    g = ownScale(amax);
    if (threadIdx.x == 0) rowScale[r] = g;
  }
  const float sixG = 6.f * g;
  for (std::int64_t b = threadIdx.x; b < s.k / kBlock; b += kThreads) {
    float v[kBlock];
    float amax = 0.f;
#pragma unroll
    for (int i = 0; i < kBlock; i++) {
      v[i] = valueOf<Swiglu>(s, from, b * kBlock + i);
      if (!isFinite(v[i])) report(DataError::notFinite, from * s.k + b * kBlock + i);
      amax = fmaxf(amax, fabsf(v[i]));
    }
    float scale = amax / sixG;
    if (scale == 0.f) scale = 1.f;
    const unsigned byte = encodeScale(fminf(fmaxf(scale, 0x1p-9f), 448.f));
    sf[r * (s.k / kBlock) + b] = static_cast<std::uint8_t>(byte);
    const float step = decodeE4m3(byte) * g;
    unsigned words[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < kBlock; i++) {
      const int at = report.planted(Plant::swappedNibbles) ? i ^ 1 : i;
      words[i / 8] |= encodeE2m1(v[i] / step) << (4 * (at % 8));
    }
    unsigned* to = reinterpret_cast<unsigned*>(codes + r * (s.k / 2) + b * (kBlock / 2));
    to[0] = words[0];
    to[1] = words[1];
  }
}

}  // namespace

void stageFloat(const Launch& l, const StageRows& rows, float* out) {
  const unsigned grid = static_cast<unsigned>(rows.slots);
  if (rows.gateUp != nullptr)
    floatKernel<true><<<grid, kThreads, 0, l.stream>>>(rows, out, Report(l));
  else
    floatKernel<false><<<grid, kThreads, 0, l.stream>>>(rows, out, Report(l));
}

void stageNvfp4(const Launch& l, const StageRows& rows, const float* globalScale, std::uint8_t* codes, std::uint8_t* sf,
                float* rowScale) {
  const unsigned grid = static_cast<unsigned>(rows.slots);
  if (rows.gateUp != nullptr)
    nvfp4Kernel<true><<<grid, kThreads, 0, l.stream>>>(rows, globalScale, codes, sf, rowScale, Report(l));
  else
    nvfp4Kernel<false><<<grid, kThreads, 0, l.stream>>>(rows, globalScale, codes, sf, rowScale, Report(l));
}

}  // namespace megamoe::cuda
