#include "attention.h"
#include "device.cuh"
#include "kv.cuh"
#include "rotate.cuh"

namespace megamoe::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

template <class Kv>
__global__ void windowKernel(StepRows step, Pages window, std::int64_t d, const float* kv, Kv* memory, Report report) {
  const std::int64_t r = blockIdx.x;
  Kv* to = memory + window.at(step.rowSequence[r], step.positions[r]) * d;
  for (std::int64_t i = threadIdx.x; i < d; i += kThreads) {
    const float key = kv[r * d + i];
    hold(to[i], report.planted(Plant::cutKeys) ? decodeBf16(__float_as_uint(key) >> 16) : key);
  }
}

__global__ void keepKernel(CompressParams p) {
  const std::int64_t r = blockIdx.x;
  const std::int32_t position = p.step.positions[r];
  const std::int64_t to = p.open.at(p.step.rowSequence[r], position) * p.width;
  const float* bias = p.ape + position % p.ratio * p.width;
  for (std::int64_t i = threadIdx.x; i < p.width; i += kThreads) {
    p.openKv[to + i] = p.kv[r * p.width + i];
    p.openGate[to + i] = p.gate[r * p.width + i] + bias[i];
  }
}

// Candidates of a closing: the tokens of the window that ends before `end`, after those of the one before it where
// windows overlap; that one goes through the first half of its projections, this one through its last.
struct Candidates {
  std::int32_t first, count, before;
  std::int64_t late;  // where the values of this window's tokens begin

  __device__ Candidates(const CompressParams& p, std::int32_t end)
      : count(p.ratio == 4 ? 8 : p.ratio), before(count - p.ratio), late(p.width - p.dim) {
    first = end - count;
  }

  // Where those of candidate j begin; negative before the first window, which is no weight.
  __device__ __forceinline__ std::int64_t at(const CompressParams& p, std::int32_t s, std::int32_t j) const {
    return first + j < 0 ? -1 : p.open.at(s, first + j) * p.width + (j < before ? 0 : late);
  }
};

// A block for each row; most close no window. The entry is float32 until it is done: [dim] of shared memory.
template <class Kv>
__global__ void closeKernel(CompressParams p) {
  extern __shared__ float entry[];
  __shared__ double shared[kWarps];
  const std::int64_t r = blockIdx.x;
  const std::int32_t end = p.step.positions[r] + 1, s = p.step.rowSequence[r];
  if (end % p.ratio != 0) return;
  const Candidates from(p, end);
  double squares = 0;
  for (std::int64_t c = threadIdx.x; c < p.dim; c += kThreads) {
    float most = -INFINITY;
    for (std::int32_t j = 0; j < from.count; j++) {
      const std::int64_t at = from.at(p, s, j);
      if (at >= 0) {
        const float g = p.openGate[at + c];
        most = g > most || isnan(g) ? g : most;
      }
    }
    double sum = 0;
    for (std::int32_t j = 0; j < from.count; j++) {
      const std::int64_t at = from.at(p, s, j);
      if (at >= 0) sum += static_cast<float>(exp(static_cast<double>(p.openGate[at + c] - most)));
    }
    const float total = static_cast<float>(sum);
    double pooled = 0;
    for (std::int32_t j = 0; j < from.count; j++) {
      const std::int64_t at = from.at(p, s, j);
      if (at < 0) continue;
      const float weight = static_cast<float>(exp(static_cast<double>(p.openGate[at + c] - most))) / total;
      pooled += static_cast<double>(p.openKv[at + c]) * weight;
    }
    const float v = static_cast<float>(pooled);
    entry[c] = v;
    squares += static_cast<double>(v) * v;
  }
  squares = blockSum<kWarps>(squares, shared);
  const float mean = static_cast<float>(squares / static_cast<double>(p.dim));
  const float root = static_cast<float>(static_cast<double>(mean) + p.eps);
  const float inverse = static_cast<float>(1.0 / sqrt(static_cast<double>(root)));
  for (std::int64_t c = threadIdx.x; c < p.dim; c += kThreads) entry[c] = entry[c] * inverse * p.norm[c];
  __syncthreads();
  for (std::int64_t i = threadIdx.x; i < p.ropeDim / 2; i += kThreads) {
    const Turn turn = turnOf(end - p.ratio, p.invFreq[i]);
    rotate(entry + p.dim - p.ropeDim + 2 * i, turn.cos, turn.sin);
  }
  __syncthreads();
  Kv* to = static_cast<Kv*>(p.entries) + p.entryPages.at(s, end / p.ratio - 1) * p.dim;
  for (std::int64_t c = threadIdx.x; c < p.dim; c += kThreads) hold(to[c], entry[c]);
}

}  // namespace

void writeWindow(const Launch& l, const StepRows& step, const Pages& window, std::int64_t d, const float* kv,
                 void* memory, KvType type) {
  const unsigned grid = static_cast<unsigned>(step.rows);
  if (type == KvType::bf16)
    windowKernel<<<grid, kThreads, 0, l.stream>>>(step, window, d, kv, static_cast<Bf16*>(memory), Report(l));
  else
    windowKernel<<<grid, kThreads, 0, l.stream>>>(step, window, d, kv, static_cast<float*>(memory), Report(l));
}

void compress(const Launch& l, const CompressParams& p) {
  const unsigned grid = static_cast<unsigned>(p.step.rows);
  keepKernel<<<grid, kThreads, 0, l.stream>>>(p);
  const std::size_t bytes = static_cast<std::size_t>(p.dim) * sizeof(float);
  if (p.entryType == KvType::bf16)
    closeKernel<Bf16><<<grid, kThreads, bytes, l.stream>>>(p);
  else
    closeKernel<float><<<grid, kThreads, bytes, l.stream>>>(p);
}

}  // namespace megamoe::cuda
