#include "device.cuh"
#include "packed.cuh"
#include "packed.h"
#include "w4a4.h"
#include "w4a4_out.cuh"

namespace megamoe::cuda {

namespace {

constexpr std::int64_t kFragmentBytes = 256;  // of 8 rows and 16 k: two halves pairs a lane

// What is multiplied, and where its jobs come from.
struct Rows {
  const std::uint8_t *codes, *sf;
  const std::int32_t* ends;  // [experts]
  std::int64_t experts, slots, k;
  const float* alpha;  // [experts*parts]
  std::int64_t parts;
};

constexpr int kFragmentThreads = 256;
constexpr int kFragmentBlocks = 16;  // of a job

// The job of this block's y, of at most `tile` rows: every block counts for itself, which takes less time than a
// launch. Ends that are none give no jobs; they and alphas that are not finite are reported once.
__device__ __forceinline__ Job findJob(const Rows& rows, int tile, const Report& report) {
  __shared__ std::int32_t sums[kFragmentThreads / 32];
  __shared__ Job found;
  __shared__ int isBad;
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  const bool reports = blockIdx.x == 0 && blockIdx.y == 0;
  if (t == 0) found = {0, 0, 0}, isBad = 0;
  __syncthreads();
  const int experts = static_cast<int>(rows.experts), share = (experts + kFragmentThreads - 1) / kFragmentThreads;
  const int first = t * share, last = first + share < experts ? first + share : experts;
  std::int32_t count = 0;
  for (int e = first; e < last; e++) {
    const std::int32_t start = e == 0 ? 0 : rows.ends[e - 1], end = rows.ends[e];
    if (end < start || end > rows.slots) {
      if (reports) report(DataError::badEnds, e);
      isBad = 1;
    } else if (end > start) {
      count += (end - start + tile - 1) / tile;
      if (reports && rows.alpha != nullptr)
        for (std::int64_t p = 0; p < rows.parts; p++)
          if (!isFinite(rows.alpha[e * rows.parts + p])) report(DataError::badAlpha, e * rows.parts + p);
    }
  }
  std::int32_t sum = count;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const std::int32_t before = __shfl_up_sync(0xffffffffu, sum, step);
    if (lane >= step) sum += before;
  }
  if (lane == 31) sums[warp] = sum;
  __syncthreads();
  std::int32_t at = sum - count;
  for (int w = 0; w < warp; w++) at += sums[w];
  const std::int32_t wanted = static_cast<std::int32_t>(blockIdx.y);
  for (int e = first; e < last && !isBad && at <= wanted; e++) {
    const std::int32_t start = e == 0 ? 0 : rows.ends[e - 1], end = rows.ends[e];
    const std::int32_t jobs = (end - start + tile - 1) / tile;
    if (wanted < at + jobs) {
      const std::int32_t row = start + (wanted - at) * tile;
      found = {e, row, end - row < tile ? end - row : tile};
    }
    at += jobs;
  }
  __syncthreads();
  return found;
}

// The rows of each job as operand B: [jobs][K/16][tiles of 8 rows][32 lanes] of two half2, e2m1 * e4m3, which is exact.
// Rows that a job lacks are 0. Writes the jobs, too.
template <int Tiles>
__global__ void __launch_bounds__(kFragmentThreads) fragmentKernel(Rows rows, Job* jobs, uint2* out, Report report) {
  const Job job = findJob(rows, 8 * Tiles, report);
  if (blockIdx.x == 0 && threadIdx.x == 0) jobs[blockIdx.y] = job;
  if (job.rows == 0) return;
  const int blocks = static_cast<int>(rows.k / 16), all = blocks * Tiles * 32;
  uint2* to = out + static_cast<std::int64_t>(blockIdx.y) * all;
  for (int at = blockIdx.x * kFragmentThreads + threadIdx.x; at < all; at += kFragmentBlocks * kFragmentThreads) {
    const int lane = at % 32, n = at / 32 % Tiles, t = lane % 4, b = at / (32 * Tiles), r = n * 8 + lane / 4;
    uint2 v = make_uint2(0, 0);
    if (r < job.rows) {
      const std::int64_t row = job.row0 + r;
      const std::uint8_t* from = rows.codes + row * (rows.k / 2) + b * 8 + t;
      const float scale = decodeE4m3(rows.sf[row * blocks + b]);
      const auto pair = [&](unsigned byte) {
        const __half2 h = __floats2half2_rn(decodeE2m1(byte & 15u) * scale, decodeE2m1(byte >> 4) * scale);
        return *reinterpret_cast<const unsigned*>(&h);
      };
      v = make_uint2(pair(from[0]), pair(from[4]));
    }
    to[at] = v;
  }
}

// d = a . b of 16 x 8 outputs over 16 k, from zero.
__device__ __forceinline__ void multiply(float (&d)[4], const std::uint32_t (&a)[4], uint2 b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%10,%10,%10,%10};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y), "f"(0.f));
}

__device__ __forceinline__ void copyAsync(void* shared, const void* global) {
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0],[%1],16;" ::"r"(to), "l"(global));
}

// Weights of one superblock as a warp holds them.
struct Superblock {
  uint4 codes;
  std::uint32_t low, high;  // scales of rows g and g + 8

  __device__ __forceinline__ void load(const std::uint8_t* p, int lane) {
    codes = __ldcs(reinterpret_cast<const uint4*>(p) + lane);
    low = __ldcs(reinterpret_cast<const std::uint32_t*>(p + 512) + lane / 4);
    high = __ldcs(reinterpret_cast<const std::uint32_t*>(p + 512) + lane / 4 + 8);
  }
};

// Value of byte i of four E4M3 scales.
__device__ __forceinline__ float scaleOf(std::uint32_t four, int i) {
  const std::uint32_t moved = i < 3 ? four << (20 - 8 * i) : four >> 4;  // the sign bit is never set
  return __uint_as_float(moved & 0x07f00000u) * 0x1p120f;
}

// A shape of the kernel: `Warps` warps of `Wide` tiles of 16 columns each, up to `Tiles` tiles of 8 rows, chunks of
// `Chunk` superblocks in shared memory, weights `Ahead` superblocks ahead.
template <int Warps_, int Wide_, int Tiles_, int Chunk_, int Ahead_, int Blocks_>
struct Shape {
  static constexpr int Warps = Warps_, Wide = Wide_, Tiles = Tiles_, Chunk = Chunk_, Ahead = Ahead_, Blocks = Blocks_;
  static constexpr int kThreads = Warps * 32;
  static constexpr int kChunkVectors = Chunk * 4 * Tiles * 16;  // of 16 bytes
  static constexpr std::size_t kSharedBytes = 2 * kChunkVectors * std::size_t{16};
};

using Rows8 = Shape<4, 1, 1, 8, 8, 4>;
using Rows32 = Shape<4, 2, 4, 4, 2, 4>;
using Rows64 = Shape<8, 2, 8, 4, 2, 1>;
using Rows128 = Shape<8, 2, 16, 2, 2, 1>;

// The product of one job with `Used` tiles of rows that are not empty. `Whole`: K is whole chunks.
template <class S, int Used, bool Whole>
__device__ __forceinline__ void multiplyJob(const W4A4Params& p, const Job& job, const uint2* fragments,
                                            uint2* shared) {
  constexpr int kTileVectors = S::Tiles * 32;  // uint2 of a k16
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int kb = static_cast<int>(p.w.k / kSuperblockK), tiles = static_cast<int>(p.w.n / kTileColumns);
  const int tile0 = (blockIdx.x * S::Warps + warp) * S::Wide;
  const std::uint8_t* w[S::Wide];
#pragma unroll
  for (int i = 0; i < S::Wide; i++) {
    const int tile = tile0 + i < tiles ? tile0 + i : tiles - 1;  // those past the end are not stored
    w[i] = static_cast<const std::uint8_t*>(p.w.data) +
           (static_cast<std::int64_t>(job.expert) * tiles + tile) * kb * kSuperblockBytes;
  }
  const int chunks = (kb + S::Chunk - 1) / S::Chunk;
  const auto loadChunk = [&](int c) {
    if (c < chunks) {
      const int first = c * S::kChunkVectors, all = kb * 4 * S::Tiles * 16;
      const int n = Whole || all - first >= S::kChunkVectors ? S::kChunkVectors : all - first;
      const uint4* from = reinterpret_cast<const uint4*>(fragments) + first;
      uint4* to = reinterpret_cast<uint4*>(shared) + (c & 1) * S::kChunkVectors;
#pragma unroll
      for (int i = 0; i < S::kChunkVectors / S::kThreads; i++) {
        const int at = i * S::kThreads + threadIdx.x;
        if (at < n) copyAsync(to + at, from + at);
      }
    }
    asm volatile("cp.async.commit_group;");
  };
  loadChunk(0);
  loadChunk(1);
  Superblock held[S::Ahead][S::Wide];
#pragma unroll
  for (int u = 0; u < S::Ahead; u++)
#pragma unroll
    for (int i = 0; i < S::Wide; i++)
      if (Whole || u < kb) held[u][i].load(w[i] + u * kSuperblockBytes, lane);
  float acc[S::Wide][Used][4] = {};
  for (int c = 0; c < chunks; c++) {
    asm volatile("cp.async.wait_group 1;");
    __syncthreads();
    const uint2* rows = shared + (c & 1) * S::kChunkVectors * 2 + lane;
#pragma unroll 1
    for (int s0 = 0; s0 < S::Chunk; s0 += S::Ahead) {
#pragma unroll
      for (int u = 0; u < S::Ahead; u++) {
        const int b = c * S::Chunk + s0 + u;
        if (!Whole && b >= kb) break;
        Superblock now[S::Wide];
#pragma unroll
        for (int i = 0; i < S::Wide; i++) {
          now[i] = held[u][i];
          if (b + S::Ahead < kb) held[u][i].load(w[i] + (b + S::Ahead) * static_cast<int>(kSuperblockBytes), lane);
        }
#pragma unroll
        for (int q = 0; q < 4; q++) {
          std::uint32_t a[S::Wide][4];
          float low[S::Wide], high[S::Wide];
#pragma unroll
          for (int i = 0; i < S::Wide; i++) {
            const std::uint32_t words[4] = {now[i].codes.x, now[i].codes.y, now[i].codes.z, now[i].codes.w};
            unpackWord(words[q], a[i]);
            low[i] = scaleOf(now[i].low, q);
            high[i] = scaleOf(now[i].high, q);
          }
#pragma unroll
          for (int n = 0; n < Used; n++) {
            const uint2 x = rows[((s0 + u) * 4 + q) * kTileVectors + n * 32];
#pragma unroll
            for (int i = 0; i < S::Wide; i++) {
              float d[4];
              multiply(d, a[i], x);
              acc[i][n][0] = fmaf(d[0], low[i], acc[i][n][0]);
              acc[i][n][1] = fmaf(d[1], low[i], acc[i][n][1]);
              acc[i][n][2] = fmaf(d[2], high[i], acc[i][n][2]);
              acc[i][n][3] = fmaf(d[3], high[i], acc[i][n][3]);
            }
          }
        }
      }
    }
    __syncthreads();
    loadChunk(c + 2);
  }
#pragma unroll
  for (int i = 0; i < S::Wide; i++) {
    if (tile0 + i >= tiles) break;
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const std::int64_t column = (tile0 + i) * static_cast<int>(kTileColumns) + lane / 4 + (e >> 1) * 8;
      const float alpha = p.alpha[job.expert * p.parts + (p.parts == 1 ? 0 : column * p.parts / p.w.n)];
#pragma unroll
      for (int n = 0; n < Used; n++) {
        const int r = n * 8 + lane % 4 * 2 + (e & 1);
        if (r < job.rows) storeW4A4(p, job.row0 + r, column, alpha, acc[i][n][e] * 16384.f);
      }
    }
  }
}

// The same, by the rows that the job has: 16 rows more or less make a product of its own.
template <class S, bool Whole, int Used = S::Tiles>
__device__ __forceinline__ void multiplyAny(const W4A4Params& p, const Job& job, const uint2* own, uint2* shared) {
  constexpr int kLess = S::Tiles <= 2 ? Used - 1 : Used - S::Tiles / 4;
  if constexpr (kLess > 0) {
    if (job.rows <= 8 * kLess) return multiplyAny<S, Whole, kLess>(p, job, own, shared);
  }
  multiplyJob<S, Used, Whole>(p, job, own, shared);
}

template <class S, bool Whole>
__global__ void __launch_bounds__(S::kThreads, S::Blocks)
    tilesKernel(const W4A4Params p, const Job* jobs, const uint2* fragments) {
  extern __shared__ __align__(16) uint2 shared[];
  const Job job = jobs[blockIdx.y];
  if (job.rows == 0) return;
  multiplyAny<S, Whole>(p, job, fragments + blockIdx.y * (p.w.k / 16) * S::Tiles * 32, shared);
}

template <class S, bool Whole>
void launch(const Launch& l, const W4A4Params& p, const Rows& rows, Job* jobs, std::int64_t mostJobs,
            uint2* fragments) {
  cudaFuncSetAttribute(tilesKernel<S, Whole>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(S::kSharedBytes));
  const unsigned n = static_cast<unsigned>(mostJobs);
  fragmentKernel<S::Tiles>
      <<<dim3(kFragmentBlocks, n), kFragmentThreads, 0, l.stream>>>(rows, jobs, fragments, Report(l));
  const dim3 grid(static_cast<unsigned>(ceilDiv(p.w.n, kTileColumns * S::Warps * S::Wide)), n);
  tilesKernel<S, Whole><<<grid, S::kThreads, S::kSharedBytes, l.stream>>>(p, jobs, fragments);
}

template <class S>
void launch(const Launch& l, const W4A4Params& p, const Rows& rows, Job* jobs, std::int64_t mostJobs,
            uint2* fragments) {
  if (p.w.k % (S::Chunk * kSuperblockK) == 0)
    launch<S, true>(l, p, rows, jobs, mostJobs, fragments);
  else
    launch<S, false>(l, p, rows, jobs, mostJobs, fragments);
}

}  // namespace

std::int64_t fragmentBytes(const W4A4Choice& choice, std::int64_t mostJobs, std::int64_t k) {
  if (choice.kernel == W4A4Kernel::plain) return 0;
  return mostJobs * (choice.rows / 8) * (k / 16) * kFragmentBytes;
}

void w4a4Tiles(const Launch& l, const W4A4Params& p, const W4A4Choice& choice, const std::int32_t* ends,
               std::int64_t slots, Job* jobs, void* fragments) {
  const Rows rows = {p.codes, p.sf, ends, p.w.matrices, slots, p.w.k, p.alpha, p.parts};
  const std::int64_t most = mostJobs(slots, p.w.matrices, choice.rows);
  uint2* to = static_cast<uint2*>(fragments);
  switch (choice.kernel) {
    case W4A4Kernel::rows8: return launch<Rows8>(l, p, rows, jobs, most, to);
    case W4A4Kernel::rows32: return launch<Rows32>(l, p, rows, jobs, most, to);
    case W4A4Kernel::rows64: return launch<Rows64>(l, p, rows, jobs, most, to);
    default: return launch<Rows128>(l, p, rows, jobs, most, to);
  }
}

}  // namespace megamoe::cuda
