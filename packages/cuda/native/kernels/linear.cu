// One warp for a column: lane l adds the products of elements [8*l, 8*l + 8) of every 256, and a fixed tree adds the
// lanes. So the additions of a result are its own, whoever is computed beside it.
#include "decode.cuh"
#include "device.cuh"
#include "linear.h"

namespace megamoe::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// Activations below this magnitude count as 0 in BF16, as on the CPU.
constexpr float kLeast = 0x1p-100f;

template <bool Rounded>
__device__ __forceinline__ float input(float x) {
  if constexpr (!Rounded) return x;
  const float v = decodeBf16(encodeBf16(x));
  return fabsf(v) < kLeast ? 0.f : v;
}

// Elements [c, c + 8) of a row of x; those from `k` on are 0.
template <bool Rounded, bool Whole>
__device__ __forceinline__ void inputs(const float* x, std::int64_t c, std::int64_t k, float (&out)[8]) {
  if constexpr (Whole) {
    const float4 a = __ldg(reinterpret_cast<const float4*>(x + c));
    const float4 b = __ldg(reinterpret_cast<const float4*>(x + c) + 1);
    out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
    out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = c + i < k ? x[c + i] : 0.f;
  }
#pragma unroll
  for (int i = 0; i < 8; i++) out[i] = input<Rounded>(out[i]);
}

// acc[m] = x[m] . w[row] for `rows` of M rows that lie `stride` apart, in every lane.
template <Format F, bool Rounded, bool Whole, int M>
__device__ __forceinline__ void dotRows(const Weight& w, std::int64_t row, const float* x, std::int64_t stride,
                                        int rows, float (&acc)[M]) {
#pragma unroll
  for (int m = 0; m < M; m++) acc[m] = 0.f;
  for (std::int64_t c = threadIdx.x % 32 * 8; c < w.k; c += 256) {
    float wv[8];
    if constexpr (Whole || F == Format::packed) {  // a packed row is whole
      decodeEight<F>(w, row, c, wv);
    } else {
#pragma unroll
      for (int i = 0; i < 8; i++) wv[i] = c + i < w.k ? decodeOne<F>(w, row, c + i) : 0.f;
    }
#pragma unroll
    for (int m = 0; m < M; m++) {
      if (m >= rows) break;
      float xv[8];
      inputs<Rounded, Whole>(x + m * stride, c, w.k, xv);
#pragma unroll
      for (int i = 0; i < 8; i++) acc[m] = fmaf(xv[i], wv[i], acc[m]);
    }
  }
#pragma unroll
  for (int m = 0; m < M; m++) acc[m] = warpSum(acc[m]);
}

template <Format F, bool Rounded, bool Whole, int M>
__global__ void __launch_bounds__(kThreads)
    linearKernel(Weight w, const float* x, std::int64_t rows, const float* alpha, std::int64_t parts, float* out) {
  const std::int64_t column = blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32;
  const std::int64_t all = w.matrices * w.n;
  if (column >= all) return;
  const std::int64_t g = column / w.n, r0 = blockIdx.y * std::int64_t{M};
  const int count = rows - r0 < M ? static_cast<int>(rows - r0) : M;
  float acc[M];
  dotRows<F, Rounded, Whole, M>(w, column, x + (r0 * w.matrices + g) * w.k, w.matrices * w.k, count, acc);
  const float scale = alpha == nullptr ? 1.f : alpha[g * parts + (column - g * w.n) * parts / w.n];
#pragma unroll
  for (int m = 0; m < M; m++)
    if (m < count && threadIdx.x % 32 == 0) out[(r0 + m) * all + column] = alpha == nullptr ? acc[m] : scale * acc[m];
}

template <Format F, bool Rounded, bool Whole>
__global__ void __launch_bounds__(kThreads)
    groupedKernel(Weight w, const Job* jobs, const float* a, const float* alpha, std::int64_t parts, float* out) {
  const Job job = jobs[blockIdx.y];
  const std::int64_t n = blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32;
  if (job.rows == 0 || n >= w.n) return;
  const std::int64_t row0 = job.row0;
  float acc[kFloatJobRows];
  dotRows<F, Rounded, Whole, kFloatJobRows>(w, job.expert * w.n + n, a + row0 * w.k, w.k, job.rows, acc);
  const float scale = alpha == nullptr ? 1.f : alpha[job.expert * parts + n * parts / w.n];
#pragma unroll
  for (int m = 0; m < kFloatJobRows; m++)
    if (m < job.rows && threadIdx.x % 32 == 0) out[(row0 + m) * w.n + n] = alpha == nullptr ? acc[m] : scale * acc[m];
}

bool isAligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }

// Calls f with the format, the rounding and whether vectors can be loaded, as types.
template <Format F>
struct FormatTag {
  static constexpr Format format = F;
};
template <bool B>
struct Flag {
  static constexpr bool value = B;
};

template <class Fn>
void dispatch(const Weight& w, const float* x, bool rounded, Fn f) {
  const bool whole = w.k % 8 == 0 && isAligned(x) && isAligned(w.data);
  const auto flags = [&](auto format) {
    if (rounded)
      whole ? f(format, Flag<true>(), Flag<true>()) : f(format, Flag<true>(), Flag<false>());
    else
      whole ? f(format, Flag<false>(), Flag<true>()) : f(format, Flag<false>(), Flag<false>());
  };
  switch (w.format) {
    case Format::f32: return flags(FormatTag<Format::f32>());
    case Format::bf16: return flags(FormatTag<Format::bf16>());
    case Format::fp8: return flags(FormatTag<Format::fp8>());
    case Format::nvfp4: return flags(FormatTag<Format::nvfp4>());
    case Format::packed: return flags(FormatTag<Format::packed>());
  }
}

// A launch takes 65535 tiles along y.
constexpr std::int64_t kMostTiles = 65535;

template <class Format_, class Rounded, class Whole, int M>
void launchLinear(const Launch& l, const Weight& w, const float* x, std::int64_t rows, const float* alpha,
                  std::int64_t parts, float* out) {
  for (std::int64_t r = 0; r < rows; r += kMostTiles * M) {
    const std::int64_t part = rows - r < kMostTiles * M ? rows - r : kMostTiles * M;
    const dim3 grid(static_cast<unsigned>(ceilDiv(w.matrices * w.n, kWarps)), static_cast<unsigned>(ceilDiv(part, M)));
    linearKernel<Format_::format, Rounded::value, Whole::value, M>
        <<<grid, kThreads, 0, l.stream>>>(w, x + r * w.matrices * w.k, part, alpha, parts, out + r * w.matrices * w.n);
  }
}

}  // namespace

void linear(const Launch& l, const Weight& w, const float* x, std::int64_t rows, bool rounded, const float* alpha,
            std::int64_t parts, float* out) {
  dispatch(w, x, rounded, [&](auto format, auto isRounded, auto whole) {
    using F = decltype(format);
    using R = decltype(isRounded);
    using V = decltype(whole);
    if (rows == 1)
      launchLinear<F, R, V, 1>(l, w, x, rows, alpha, parts, out);
    else if (rows <= 4)
      launchLinear<F, R, V, 4>(l, w, x, rows, alpha, parts, out);
    else
      launchLinear<F, R, V, 8>(l, w, x, rows, alpha, parts, out);
  });
}

void groupedFloat(const Launch& l, const Weight& w, const Job* jobs, std::int64_t mostJobs, const float* a,
                  bool rounded, const float* alpha, std::int64_t parts, float* out) {
  dispatch(w, a, rounded, [&](auto format, auto isRounded, auto whole) {
    for (std::int64_t j = 0; j < mostJobs; j += kMostTiles) {
      const dim3 grid(static_cast<unsigned>(ceilDiv(w.n, kWarps)),
                      static_cast<unsigned>(mostJobs - j < kMostTiles ? mostJobs - j : kMostTiles));
      groupedKernel<decltype(format)::format, decltype(isRounded)::value, decltype(whole)::value>
          <<<grid, kThreads, 0, l.stream>>>(w, jobs + j, a, alpha, parts, out);
    }
  });
}

}  // namespace megamoe::cuda
