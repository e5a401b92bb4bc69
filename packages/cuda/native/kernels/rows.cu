#include "decode.cuh"
#include "device.cuh"
#include "rows.h"

namespace megamoe::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

template <Format F>
__global__ void embedKernel(Weight table, const std::int32_t* ids, std::int64_t repeat, float* out, Report report) {
  const std::int64_t i = blockIdx.x;
  std::int64_t id = ids[i];
  if (id < 0 || id >= table.n) {
    if (threadIdx.x == 0) report(DataError::index, i);
    id = 0;
  }
  for (std::int64_t c = threadIdx.x; c < table.k; c += kThreads) {
    const float v = decodeOne<F>(table, id, c);
    for (std::int64_t r = 0; r < repeat; r++) out[(i * repeat + r) * table.k + c] = v;
  }
}

__global__ void rmsNormKernel(const float* x, std::int64_t d, const float* weight, double eps, float* out) {
  __shared__ double shared[kWarps];
  const float* row = x + blockIdx.x * d;
  double sum = 0;
  for (std::int64_t c = threadIdx.x; c < d; c += kThreads) sum += static_cast<double>(row[c]) * row[c];
  sum = blockSum<kWarps>(sum, shared);
  const float f = static_cast<float>(1.0 / sqrt(sum / static_cast<double>(d) + eps));
  float* to = out + blockIdx.x * d;
  for (std::int64_t c = threadIdx.x; c < d; c += kThreads) {
    const float v = row[c] * f;
    to[c] = weight == nullptr ? v : v * weight[c];
  }
}

__global__ void swigluKernel(const float* gateUp, std::int64_t rows, std::int64_t i, float limit, float* out) {
  const std::int64_t at = blockIdx.x * static_cast<std::int64_t>(kThreads) + threadIdx.x;
  if (at >= rows * i) return;
  const float* row = gateUp + at / i * 2 * i;
  out[at] = swigluOf(row[at % i], row[i + at % i], limit);
}

__global__ void addKernel(float* out, const float* x, std::int64_t n) {
  const std::int64_t at = blockIdx.x * static_cast<std::int64_t>(kThreads) + threadIdx.x;
  if (at < n) out[at] = out[at] + x[at];
}

__global__ void gatherKernel(const float* x, std::int64_t below, std::int64_t d, const std::int32_t* index, float* out,
                             Report report) {
  const std::int64_t r = blockIdx.x;
  std::int64_t from = index[r];
  if (from < 0 || from >= below) {
    if (threadIdx.x == 0) report(DataError::index, r);
    return;
  }
  for (std::int64_t c = threadIdx.x; c < d; c += kThreads) out[r * d + c] = x[from * d + c];
}

__global__ void scatterKernel(const float* y, std::int64_t below, std::int64_t d, const std::int32_t* tokenSlots,
                              const float* topkWeights, std::int64_t topk, float* out, Report report) {
  const std::int64_t t = blockIdx.y;
  const std::int64_t c = blockIdx.x * static_cast<std::int64_t>(kThreads) + threadIdx.x;
  if (c >= d) return;
  float acc = 0;
  for (std::int64_t j = 0; j < topk; j++) {
    const std::int64_t slot = tokenSlots[t * topk + j];
    if (slot == -1) continue;
    if (slot < 0 || slot >= below) {
      if (c == 0) report(DataError::index, t * topk + j);
      continue;
    }
    acc = acc + topkWeights[t * topk + j] * y[slot * d + c];  // two roundings: no contraction is compiled in
  }
  out[t * d + c] = acc;
}

unsigned blocks(std::int64_t n) { return static_cast<unsigned>(ceilDiv(n, kThreads)); }

}  // namespace

void embed(const Launch& l, const Weight& table, const std::int32_t* ids, std::int64_t rows, std::int64_t repeat,
           float* out) {
  const unsigned grid = static_cast<unsigned>(rows);
  if (table.format == Format::f32)
    embedKernel<Format::f32><<<grid, kThreads, 0, l.stream>>>(table, ids, repeat, out, Report(l));
  else if (table.format == Format::bf16)
    embedKernel<Format::bf16><<<grid, kThreads, 0, l.stream>>>(table, ids, repeat, out, Report(l));
  else
    embedKernel<Format::fp8><<<grid, kThreads, 0, l.stream>>>(table, ids, repeat, out, Report(l));
}

void rmsNorm(const Launch& l, const float* x, std::int64_t rows, std::int64_t d, const float* weight, double eps,
             float* out) {
  rmsNormKernel<<<static_cast<unsigned>(rows), kThreads, 0, l.stream>>>(x, d, weight, eps, out);
}

void swiglu(const Launch& l, const float* gateUp, std::int64_t rows, std::int64_t i, float limit, float* out) {
  swigluKernel<<<blocks(rows * i), kThreads, 0, l.stream>>>(gateUp, rows, i, limit, out);
}

void add(const Launch& l, float* out, const float* x, std::int64_t n) {
  addKernel<<<blocks(n), kThreads, 0, l.stream>>>(out, x, n);
}

void gatherRows(const Launch& l, const float* x, std::int64_t below, std::int64_t d, const std::int32_t* index,
                std::int64_t rows, float* out) {
  gatherKernel<<<static_cast<unsigned>(rows), kThreads, 0, l.stream>>>(x, below, d, index, out, Report(l));
}

void scatterExperts(const Launch& l, const float* y, std::int64_t below, std::int64_t d, const std::int32_t* tokenSlots,
                    const float* topkWeights, std::int64_t rows, std::int64_t topk, float* out) {
  // Rows go along y, of which a launch takes 65535.
  constexpr std::int64_t kMost = 65535;
  for (std::int64_t t = 0; t < rows; t += kMost) {
    const dim3 grid(blocks(d), static_cast<unsigned>(rows - t < kMost ? rows - t : kMost));
    scatterKernel<<<grid, kThreads, 0, l.stream>>>(y, below, d, tokenSlots + t * topk, topkWeights + t * topk, topk,
                                                   out + t * d, Report(l));
  }
}

}  // namespace megamoe::cuda
