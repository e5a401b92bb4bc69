#include "device.cuh"
#include "hyper.h"

namespace megamoe::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

__device__ __forceinline__ double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// mixes[row, m] = fn[m] . streams[row]; the last one of a row is the sum of its squares.
__global__ void mixKernel(HyperInput in, std::int64_t mixes, double* out) {
  __shared__ double shared[kWarps];
  const std::int64_t m = blockIdx.x, row = blockIdx.y, width = in.hc * in.d;
  const float* s = in.streams + row * width;
  const float* f = m < mixes ? in.fn + m * width : s;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < width; i += kThreads) sum += static_cast<double>(f[i]) * s[i];
  sum = blockSum<kWarps>(sum, shared);
  if (threadIdx.x == 0) out[row * (mixes + 1) + m] = sum;
}

// 1/sqrt(mean(streams^2) + eps), rounded to float32.
__device__ __forceinline__ double factorOf(const HyperInput& in, double squares) {
  return static_cast<float>(1.0 / sqrt(squares / static_cast<double>(in.hc * in.d) + in.rmsNormEps));
}

// out[c] = sum_j pre[j]*streams[j, c] of the columns of this block.
__device__ __forceinline__ void collapse(const HyperInput& in, std::int64_t row, const double* pre, float* out) {
  const float* s = in.streams + row * in.hc * in.d;
  for (std::int64_t c = blockIdx.x * std::int64_t{kThreads} + threadIdx.x; c < in.d;
       c += std::int64_t{kThreads} * gridDim.x) {
    double acc = 0;
    for (std::int64_t j = 0; j < in.hc; j++) acc += pre[j] * s[j * in.d + c];
    out[row * in.d + c] = static_cast<float>(acc);
  }
}

// Divides each element of the matrix by eps plus the sum of its line; element t of `size`, lines of hc elements that
// lie `step` apart, the first at `start`.
__device__ __forceinline__ void normalise(double* m, int t, int size, int hc, int start, int step, double eps) {
  double v = 0;
  if (t < size) {
    double sum = eps;
    for (int i = 0; i < hc; i++) sum += m[start + i * step];
    v = m[t] / sum;
  }
  __syncthreads();
  if (t < size) m[t] = v;
  __syncthreads();
}

__global__ void preKernel(HyperInput in, int iters, const double* mixes, float* post, float* comb, float* collapsed) {
  __shared__ double matrix[kMaxHc * kMaxHc], pre[kMaxHc];
  const std::int64_t row = blockIdx.y;
  const int hc = static_cast<int>(in.hc), size = hc * hc, t = threadIdx.x;
  const double* mix = mixes + row * ((2 + hc) * hc + 1);
  const double f = factorOf(in, mix[(2 + hc) * hc]);
  if (t < hc) pre[t] = sigmoid(mix[t] * f * in.gain[0] + in.base[t]) + in.hcEps;
  __syncthreads();
  collapse(in, row, pre, collapsed);
  if (blockIdx.x > 0) return;
  if (t < hc) post[row * hc + t] = static_cast<float>(2.0 * sigmoid(mix[hc + t] * f * in.gain[1] + in.base[hc + t]));
  const int j = t / hc, k = t % hc;
  if (t < size) matrix[t] = mix[2 * hc + t] * f * in.gain[2] + in.base[2 * hc + t];
  __syncthreads();
  double v = 0;
  if (t < size) {
    double most = matrix[j * hc];
    for (int i = 1; i < hc; i++) most = fmax(most, matrix[j * hc + i]);
    double sum = 0;
    for (int i = 0; i < hc; i++) sum += exp(matrix[j * hc + i] - most);
    v = exp(matrix[t] - most) / sum + in.hcEps;
  }
  __syncthreads();
  if (t < size) matrix[t] = v;
  __syncthreads();
  for (int i = 0; i < iters; i++) {
    if (i > 0) normalise(matrix, t, size, hc, j * hc, 1, in.hcEps);
    normalise(matrix, t, size, hc, k, hc, in.hcEps);
  }
  if (t < size) comb[row * size + t] = static_cast<float>(matrix[t]);
}

__global__ void headKernel(HyperInput in, const double* mixes, float* out) {
  __shared__ double pre[kMaxHc];
  const std::int64_t row = blockIdx.y;
  const double* mix = mixes + row * (in.hc + 1);
  const double f = factorOf(in, mix[in.hc]);
  const int t = threadIdx.x;
  if (t < in.hc) pre[t] = sigmoid(mix[t] * f * in.gain[0] + in.base[t]) + in.hcEps;
  __syncthreads();
  collapse(in, row, pre, out);
}

__global__ void postKernel(float* streams, const float* blockOut, std::int64_t rows, std::int64_t hc, std::int64_t d,
                           const float* post, const float* comb) {
  const std::int64_t at = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (at >= rows * d) return;
  const std::int64_t row = at / d, c = at % d;
  float* s = streams + row * hc * d + c;
  float old[kMaxHc];
#pragma unroll
  for (int j = 0; j < kMaxHc; j++) old[j] = j < hc ? s[j * d] : 0.f;
  const double o = blockOut[at];
  for (std::int64_t k = 0; k < hc; k++) {
    double acc = static_cast<double>(post[row * hc + k]) * o;
#pragma unroll
    for (int j = 0; j < kMaxHc; j++)
      if (j < hc) acc += static_cast<double>(comb[(row * hc + j) * hc + k]) * old[j];
    s[k * d] = static_cast<float>(acc);
  }
}

// A launch takes 65535 rows along y.
template <class F>
void inParts(std::int64_t rows, F run) {
  constexpr std::int64_t kMost = 65535;
  for (std::int64_t at = 0; at < rows; at += kMost)
    run(at, static_cast<unsigned>(rows - at < kMost ? rows - at : kMost));
}

HyperInput from(const HyperInput& in, std::int64_t row) {
  HyperInput part = in;
  part.streams += row * in.hc * in.d;
  return part;
}

unsigned columnBlocks(std::int64_t d) { return static_cast<unsigned>(ceilDiv(d, 4 * kThreads)); }

}  // namespace

std::int64_t hyperScratchBytes(std::int64_t rows, std::int64_t mixes) { return rows * (mixes + 1) * 8; }

void hcPre(const Launch& l, const HyperInput& in, int iters, double* scratch, float* post, float* comb,
           float* collapsed) {
  const std::int64_t mixes = (2 + in.hc) * in.hc;
  inParts(in.rows, [&](std::int64_t at, unsigned rows) {
    double* mix = scratch + at * (mixes + 1);
    const HyperInput part = from(in, at);
    mixKernel<<<dim3(static_cast<unsigned>(mixes + 1), rows), kThreads, 0, l.stream>>>(part, mixes, mix);
    preKernel<<<dim3(columnBlocks(in.d), rows), kThreads, 0, l.stream>>>(
        part, iters, mix, post + at * in.hc, comb + at * in.hc * in.hc, collapsed + at * in.d);
  });
}

void hcPost(const Launch& l, float* streams, const float* blockOut, std::int64_t rows, std::int64_t hc, std::int64_t d,
            const float* post, const float* comb) {
  postKernel<<<static_cast<unsigned>(ceilDiv(rows * d, kThreads)), kThreads, 0, l.stream>>>(streams, blockOut, rows, hc,
                                                                                            d, post, comb);
}

void hcHead(const Launch& l, const HyperInput& in, double* scratch, float* out) {
  inParts(in.rows, [&](std::int64_t at, unsigned rows) {
    double* mix = scratch + at * (in.hc + 1);
    const HyperInput part = from(in, at);
    mixKernel<<<dim3(static_cast<unsigned>(in.hc + 1), rows), kThreads, 0, l.stream>>>(part, in.hc, mix);
    headKernel<<<dim3(columnBlocks(in.d), rows), kThreads, 0, l.stream>>>(part, mix, out + at * in.d);
  });
}

}  // namespace megamoe::cuda
