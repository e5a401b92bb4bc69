#include "device.cuh"
#include "w4a4.h"
#include "w4a4_out.cuh"

namespace megamoe::cuda {

namespace {

constexpr int kThreads = 128;

// The 16 values of a block.
__device__ __forceinline__ void decodeBlock(const std::uint8_t* codes, float (&out)[16]) {
  const uint2 v = *reinterpret_cast<const uint2*>(codes);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    out[i] = decodeE2m1(v.x >> (4 * i) & 15u);
    out[8 + i] = decodeE2m1(v.y >> (4 * i) & 15u);
  }
}

// A thread a column.
__global__ void __launch_bounds__(kThreads) plainKernel(W4A4Params p, const Job* jobs) {
  const Job job = jobs[blockIdx.y];
  const std::int64_t n = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (job.rows == 0 || n >= p.w.n) return;
  const std::int64_t row0 = job.row0, k = p.w.k, blocks = k / 16, column = job.expert * p.w.n + n;
  const std::uint8_t* wCodes = static_cast<const std::uint8_t*>(p.w.data) + column * (k / 2);
  const std::uint8_t* wSf = static_cast<const std::uint8_t*>(p.w.scales) + column * blocks;
  float acc[kPlainJobRows] = {};
  for (std::int64_t b = 0; b < blocks; b++) {
    float wv[16];
    decodeBlock(wCodes + b * 8, wv);
    const float sw = decodeE4m3(wSf[b]);
#pragma unroll
    for (int r = 0; r < kPlainJobRows; r++) {
      if (r >= job.rows) break;
      float av[16];
      decodeBlock(p.codes + (row0 + r) * (k / 2) + b * 8, av);
      float dot = 0.f;  // exact: a quarter of an integer
#pragma unroll
      for (int i = 0; i < 16; i++) dot = fmaf(av[i], wv[i], dot);
      acc[r] = acc[r] + dot * (decodeE4m3(p.sf[(row0 + r) * blocks + b]) * sw);  // the product is exact
    }
  }
  const float alpha = p.alpha[job.expert * p.parts + n * p.parts / p.w.n];
#pragma unroll
  for (int r = 0; r < kPlainJobRows; r++)
    if (r < job.rows) storeW4A4(p, static_cast<int>(row0) + r, n, alpha, acc[r]);
}

}  // namespace

void w4a4Plain(const Launch& l, const W4A4Params& p, const Job* jobs, std::int64_t mostJobs) {
  constexpr std::int64_t kMost = 65535;
  for (std::int64_t j = 0; j < mostJobs; j += kMost) {
    const dim3 grid(static_cast<unsigned>(ceilDiv(p.w.n, kThreads)),
                    static_cast<unsigned>(mostJobs - j < kMost ? mostJobs - j : kMost));
    plainKernel<<<grid, kThreads, 0, l.stream>>>(p, jobs + j);
  }
}

}  // namespace megamoe::cuda
