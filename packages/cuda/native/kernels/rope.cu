#include "attention.h"
#include "device.cuh"
#include "rotate.cuh"

namespace megamoe::cuda {

namespace {

constexpr int kThreads = 256;

__global__ void tablesKernel(const float* invFreq, std::int64_t half, const std::int32_t* positions, std::int64_t rows,
                             float* cosOut, float* sinOut, Report report) {
  const std::int64_t at = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (at >= rows * half) return;
  const std::int32_t position = positions[at / half];
  if (position < 0 || position == 2147483647) report(DataError::index, at / half);
  const Turn turn = turnOf(position, invFreq[at % half]);
  cosOut[at] = turn.cos;
  sinOut[at] = turn.sin;
}

__global__ void ropeKernel(float* x, std::int64_t rows, std::int64_t heads, std::int64_t d, std::int64_t pairs,
                           const float* cos, const float* sin, float sign) {
  const std::int64_t at = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (at >= rows * heads * pairs) return;
  const std::int64_t i = at % pairs, head = at / pairs, r = head / heads;
  rotate(x + (head + 1) * d - 2 * pairs + 2 * i, cos[r * pairs + i], sign * sin[r * pairs + i]);
}

unsigned blocks(std::int64_t n) { return static_cast<unsigned>(ceilDiv(n, kThreads)); }

}  // namespace

void ropeTables(const Launch& l, const float* invFreq, std::int64_t half, const std::int32_t* positions,
                std::int64_t rows, float* cos, float* sin) {
  tablesKernel<<<blocks(rows * half), kThreads, 0, l.stream>>>(invFreq, half, positions, rows, cos, sin, Report(l));
}

void rope(const Launch& l, float* x, std::int64_t rows, std::int64_t heads, std::int64_t d, std::int64_t ropeDim,
          const float* cos, const float* sin, float sign) {
  if (ropeDim == 0) return;
  ropeKernel<<<blocks(rows * heads * (ropeDim / 2)), kThreads, 0, l.stream>>>(x, rows, heads, d, ropeDim / 2, cos, sin,
                                                                              sign);
}

}  // namespace megamoe::cuda
