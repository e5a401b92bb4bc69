#include "device.cuh"
#include "packed.cuh"
#include "packed.h"
#include "w4a4.h"
#include "w4a4_out.cuh"
#include "w4a4_plan.cuh"
#include "w4a4_rows.cuh"

namespace megamoe::cuda {

namespace {

// d = a . b of 16 x 8 outputs over 16 k, from zero.
__device__ __forceinline__ void multiply(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                         std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%10,%10,%10,%10};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.f));
}

// d = d + a . b: the sum stays in the tensor core, which rounds it as it likes (W4A4Math::fast).
__device__ __forceinline__ void accumulate(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                           std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void copyAsync(void* shared, const void* global) {
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0],[%1],16;" ::"r"(to), "l"(global) : "memory");
}
// Copies 16 bytes, or writes as many zeros.
__device__ __forceinline__ void copyOrZero(void* shared, const void* global, bool wanted) {
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(to), "l"(global), "r"(wanted ? 16 : 0) : "memory");
}
__device__ __forceinline__ void waitForCopies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// A shape of the kernel: `Warps` warps of `Wide` tiles of 16 columns each, up to `Tiles` tiles of 8 rows, a chunk of
// `Chunk` superblocks along K at a time, `Blocks` blocks on a multiprocessor.
template <int Warps_, int Wide_, int Tiles_, int Chunk_, int Blocks_, W4A4Math Math_>
struct Shape {
  static constexpr W4A4Math Math = Math_;
  static constexpr int Warps = Warps_, Wide = Wide_, Tiles = Tiles_, Chunk = Chunk_, Blocks = Blocks_;
  static constexpr int kThreads = Warps * 32, kRows = 8 * Tiles;
  static constexpr int kColumns = Warps * Wide * static_cast<int>(kTileColumns);
  // Scales of weights go into the codes, which costs a tile of weights four instructions a block and saves each product
  // a third operand, or into the sums. Measured: 16 tiles of rows gain by the first, 4 lose. Sums that stay in the
  // tensor core have no other way, and so the same operands in every shape.
  static constexpr bool kScalesFirst = Math == W4A4Math::fast || Tiles > 4;
  // Superblocks in a piece of code without a loop. Blocks side by side run the code of one tile of rows, of two, of
  // three: all of them must fit in the cache.
  static constexpr int kUnrolled = Tiles == 4 ? 1 : Chunk;
  // Products on their way: with one more, sums of 16 tiles of rows do not fit in registers.
  static constexpr int kMostBehind = Tiles > 8 ? 3 : 4;
  // Sums are 1 / kUnit of their values.
  static constexpr float kUnit = 0x1p14f * kRowUnit * (kScalesFirst ? kHalfScaleUnit : kScaleUnit);
  using Rows = RowChunk<kThreads, Tiles, 2 * Chunk>;
  // In shared memory: a chunk of rows and one of weights, twice, and the plan.
  static constexpr int kRowBytes = Rows::kVectors * 16;
  static constexpr int kWarpBytes = Wide * Chunk * static_cast<int>(kSuperblockBytes);
  static constexpr int kHalfBytes = kRowBytes + Warps * kWarpBytes;
  static constexpr int kPlanAt = 2 * kHalfBytes;
  static constexpr std::size_t sharedBytes(std::int64_t experts) {
    return kPlanAt + static_cast<std::size_t>(experts) * sizeof(std::int32_t);
  }
};

template <W4A4Math M>
using Rows8 = Shape<4, 1, 1, 8, 4, M>;
template <W4A4Math M>
using Rows32 = Shape<4, 2, 4, 4, 3, M>;
template <W4A4Math M>
using Rows64 = Shape<8, 2, 8, 2, 1, M>;
template <W4A4Math M>
using Rows128 = Shape<8, 2, 16, 2, 1, M>;

// A job, for this warp's columns.
struct Work {
  Job job;
  int tile;  // of columns, the first
};

// Asks for this warp's weights of a chunk of `n` superblocks, for each of its tiles, the next one's `toNextTile` bytes
// further on; `w` is where this lane begins. Those past the end of K are 0. They lie in shared memory as they lie in
// memory, and nowhere in registers, where the wait for the oldest of many loads is a wait for all of them.
template <class S, bool Whole>
__device__ __forceinline__ void fetchWeights(std::uint8_t* shared, const std::uint8_t* w, std::int64_t toNextTile,
                                             int n) {
  const int lane = threadIdx.x % 32;
  // Scales: four lanes take a superblock's.
  const int scales = lane / 4 * static_cast<int>(kSuperblockBytes) + 512 + lane % 4 * 16 - lane * 16;
#pragma unroll
  for (int i = 0; i < S::Wide; i++) {
    const std::uint8_t* from = w + i * toNextTile;
    std::uint8_t* to = shared + i * S::Chunk * kSuperblockBytes + lane * 16;
#pragma unroll
    for (int u = 0; u < S::Chunk; u++)
      if constexpr (Whole)
        copyAsync(to + u * kSuperblockBytes, from + u * kSuperblockBytes);
      else
        copyOrZero(to + u * kSuperblockBytes, from + u * kSuperblockBytes, u < n);
    if (lane / 4 >= S::Chunk) continue;
    if constexpr (Whole)
      copyAsync(to + scales, from + scales);
    else
      copyOrZero(to + scales, from + scales, lane / 4 < n);
  }
}

// The column of the product that a lane's sums of a tile belong to.
__device__ __forceinline__ int columnOf(int tile, int lane, int high) {
  return tile * static_cast<int>(kTileColumns) + lane / 4 + 8 * high;
}

// Weights of a pair of blocks as a warp multiplies them.
template <class S>
struct Pair {
  std::uint32_t a[2][S::Wide][4];
  float low[2][S::Wide], high[2][S::Wide];  // scales of columns g and g + 8

  __device__ __forceinline__ void unpack(const uint4 (&codes)[S::Wide], const uint2 (&scales)[S::Wide], int h) {
#pragma unroll
    for (int i = 0; i < S::Wide; i++) {
      unpackWord(h == 0 ? codes[i].x : codes[i].z, a[0][i]);
      unpackWord(h == 0 ? codes[i].y : codes[i].w, a[1][i]);
#pragma unroll
      for (int q = 0; q < 2; q++) {
        if constexpr (S::kScalesFirst) {
          const __half2 by[2] = {unpackHalfScale(scales[i].x, 2 * h + q), unpackHalfScale(scales[i].y, 2 * h + q)};
#pragma unroll
          for (int j = 0; j < 4; j++) {  // columns g (j even) and g + 8
            const __half2 v = __hmul2(*reinterpret_cast<const __half2*>(&a[q][i][j]), by[j % 2]);
            a[q][i][j] = *reinterpret_cast<const std::uint32_t*>(&v);
          }
        } else {
          low[q][i] = unpackScale(scales[i].x, 2 * h + q);
          high[q][i] = unpackScale(scales[i].y, 2 * h + q);
        }
      }
    }
  }
};

// The product of superblocks [u0, u0 + Count) of a chunk with `Used` tiles of rows that are not empty. Past the end of
// K both sides are 0 and add nothing. Products are added kBehind products later: all warps of a multiprocessor do the
// same at much the same time, so each must keep the tensor core and the other pipes busy at once.
template <class S, int Used, int Count>
__device__ __forceinline__ void multiplySuperblocks(float (&acc)[S::Wide][S::Tiles][4], const uint4* rows,
                                                    const std::uint8_t* weights, int u0) {
  constexpr int kOfPair = Used * 2 * S::Wide, kAll = Count * 2 * kOfPair;
  constexpr int kBehind = kOfPair < S::kMostBehind ? kOfPair : S::kMostBehind;
  const int lane = threadIdx.x % 32;
  uint4 codes[S::Wide], x;
  uint2 scales[S::Wide];
  Pair<S> pairs[2];  // the one that is multiplied and the one before it
  float d[kBehind][4];
#pragma unroll
  for (int s = 0; s < kAll + kBehind; s++) {
    if (s >= kBehind) {
      const int done = s - kBehind, pair = done / kOfPair, t = done % kOfPair / (2 * S::Wide);
      const int q = done / S::Wide % 2, i = done % S::Wide;
      const Pair<S>& by = pairs[pair % 2];
      float(&sum)[4] = acc[i][t];
      const float(&product)[4] = d[done % kBehind];
#pragma unroll
      for (int e = 0; e < 4; e++)
        sum[e] = S::kScalesFirst ? sum[e] + product[e] : fmaf(product[e], e < 2 ? by.low[q][i] : by.high[q][i], sum[e]);
    }
    if (s >= kAll) continue;
    const int pair = s / kOfPair, u = u0 + pair / 2, h = pair % 2, t = s % kOfPair / (2 * S::Wide);
    const int q = s / S::Wide % 2, i = s % S::Wide;
    if (s % (2 * kOfPair) == 0) {
#pragma unroll
      for (int tile = 0; tile < S::Wide; tile++) {
        const std::uint8_t* from = weights + (tile * S::Chunk + u) * static_cast<int>(kSuperblockBytes);
        codes[tile] = reinterpret_cast<const uint4*>(from)[lane];
        scales[tile] = reinterpret_cast<const uint2*>(from + 512)[lane / 4];
      }
    }
    if (s % kOfPair == 0) pairs[pair % 2].unpack(codes, scales, h);
    if (q == 0 && i == 0) x = rows[S::Rows::placeOf(2 * u + h, lane) + t * 32];
    multiply(d[s % kBehind], pairs[pair % 2].a[q][i], q == 0 ? x.x : x.z, q == 0 ? x.y : x.w);
  }
}

// The same with sums that stay in the tensor core: blocks ascend for every sum, whatever the shape. Instructions that
// wait for each other's sums stand apart, as far as registers go.
template <class S, int Used, int Count>
__device__ __forceinline__ void accumulateSuperblocks(float (&acc)[S::Wide][S::Tiles][4], const uint4* rows,
                                                      const std::uint8_t* weights, int u0) {
  constexpr int kMost = S::kMostBehind / 2 * 2, kTogether = Used < kMost ? Used : kMost;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int u = u0; u < u0 + Count; u++) {
    uint4 codes[S::Wide];
    uint2 scales[S::Wide];
#pragma unroll
    for (int tile = 0; tile < S::Wide; tile++) {
      const std::uint8_t* from = weights + (tile * S::Chunk + u) * static_cast<int>(kSuperblockBytes);
      codes[tile] = reinterpret_cast<const uint4*>(from)[lane];
      scales[tile] = reinterpret_cast<const uint2*>(from + 512)[lane / 4];
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
      Pair<S> pair;
      pair.unpack(codes, scales, h);
      const uint4* of = rows + S::Rows::placeOf(2 * u + h, lane);
#pragma unroll
      for (int t0 = 0; t0 < Used; t0 += kTogether) {
        uint4 x[kTogether];
#pragma unroll
        for (int t = 0; t < kTogether; t++) x[t] = of[(t0 + t) * 32];
#pragma unroll
        for (int q = 0; q < 2; q++)
#pragma unroll
          for (int t = 0; t < kTogether; t++)
#pragma unroll
            for (int i = 0; i < S::Wide; i++)
              accumulate(acc[i][t0 + t], pair.a[q][i], q == 0 ? x[t].x : x[t].z, q == 0 ? x[t].y : x[t].w);
      }
    }
  }
}

// Either of them.
template <class S, int Used, int Count>
__device__ __forceinline__ void sumSuperblocks(float (&acc)[S::Wide][S::Tiles][4], const uint4* rows,
                                               const std::uint8_t* weights, int u0) {
  if constexpr (S::Math == W4A4Math::fast)
    accumulateSuperblocks<S, Used, Count>(acc, rows, weights, u0);
  else
    multiplySuperblocks<S, Used, Count>(acc, rows, weights, u0);
}

// The same for `used` tiles of rows, or a few more.
template <class S, int Used = S::Tiles<4 ? 1 : S::Tiles / 4> __device__ __forceinline__ void multiplyUsed(
                       int used, float (&acc)[S::Wide][S::Tiles][4], const uint4* rows, const std::uint8_t* weights) {
  constexpr int kStep = S::Tiles < 4 ? 1 : S::Tiles / 4;
  if constexpr (Used < S::Tiles) {
    if (used > Used) return multiplyUsed<S, Used + kStep>(used, acc, rows, weights);
  }
  if constexpr (S::kUnrolled == S::Chunk) {
    sumSuperblocks<S, Used, S::Chunk>(acc, rows, weights, 0);
  } else {
#pragma unroll 1
    for (int u = 0; u < S::Chunk; u += S::kUnrolled) sumSuperblocks<S, Used, S::kUnrolled>(acc, rows, weights, u);
  }
}

// Writes sums as outputs and starts them anew.
template <class S>
__device__ __forceinline__ void storeSums(const W4A4Params& p, const Work& at, float (&acc)[S::Wide][S::Tiles][4],
                                          const Report& report) {
  const int lane = threadIdx.x % 32, n = static_cast<int>(p.w.n), parts = static_cast<int>(p.parts);
  float alpha[S::Wide][2];
#pragma unroll
  for (int i = 0; i < S::Wide; i++)
#pragma unroll
    for (int high = 0; high < 2; high++) {
      const int column = columnOf(at.tile + i, lane, high);
      const int part = parts == 1 || column >= n ? 0 : column * parts / n;
      alpha[i][high] = report.planted(Plant::noAlpha) ? 1.f : p.alpha[at.job.expert * parts + part];
    }
#pragma unroll
  for (int t = 0; t < S::Tiles; t++)
#pragma unroll
    for (int second = 0; second < 2; second++) {
      const int r = t * 8 + lane % 4 * 2 + second;
      if (r >= at.job.rows) continue;
      float* out = w4a4Row(p, at.job.row0 + r);
      const float rowScale = p.rowScale == nullptr ? 1.f : p.rowScale[at.job.row0 + r];
#pragma unroll
      for (int i = 0; i < S::Wide; i++)
#pragma unroll
        for (int high = 0; high < 2; high++) {
          const int column = columnOf(at.tile + i, lane, high);
          if (column < n) out[column] = alpha[i][high] * (acc[i][t][2 * high + second] * S::kUnit) * rowScale;
        }
    }
#pragma unroll
  for (int i = 0; i < S::Wide; i++)
#pragma unroll
    for (int t = 0; t < S::Tiles; t++)
#pragma unroll
      for (int e = 0; e < 4; e++) acc[i][t][e] = 0.f;
}

// Who is done takes the next item: a job, for S::kColumns columns. While a chunk is multiplied, the rows and the
// weights of the next one are on their way, also when that is another item's. turns[0] counts the items that were taken
// after the first of each block, turns[1] the blocks that are done.
template <class S>
__global__ void __launch_bounds__(S::kThreads, S::Blocks)
    tilesKernel(const W4A4Params p, const ExpertRows experts, unsigned* turns, const Report report) {
  extern __shared__ __align__(16) std::uint8_t shared[];
  __shared__ int upcoming[2];  // the item to go on with, by turns
  if (threadIdx.x == 0) upcoming[0] = blockIdx.x;
  std::int32_t* plan = reinterpret_cast<std::int32_t*>(shared + S::kPlanAt);
  const int jobs = planInBlock<S::kThreads>(experts, S::kRows, report, plan);
  const int kb = static_cast<int>(p.w.k / kSuperblockK), tiles = static_cast<int>(p.w.n / kTileColumns);
  const int chunks = (kb + S::Chunk - 1) / S::Chunk, across = (static_cast<int>(p.w.n) + S::kColumns - 1) / S::kColumns;
  const int items = jobs * across, warp = threadIdx.x / 32;
  const std::int64_t tileBytes = kb * kSuperblockBytes, toNextTile = tiles >= S::Wide ? tileBytes : 0;

  int chunk = chunks, turn = 0;  // before the first item
  unsigned taken = 0;
  Work next;
  const std::uint8_t* w;
  typename S::Rows rows;
  // Goes on to the next chunk and asks for it; false: there is none.
  const auto fetchNext = [&](std::uint8_t* half) {
    if (++chunk >= chunks) {
      chunk = 0;
      const int item = upcoming[turn];
      if (item >= items) return false;
      turn ^= 1;
      if (threadIdx.x == 0) taken = atomicAdd(turns, 1u);
      next.job = findJob(experts, S::kRows, plan, item / across, report);
      const int tile = (item % across * S::Warps + warp) * S::Wide, last = tiles > S::Wide ? tiles - S::Wide : 0;
      next.tile = tile < last ? tile : last;  // past the end others' work is done again, to the same result
      w = static_cast<const std::uint8_t*>(p.w.data) + (std::int64_t{next.job.expert} * tiles + next.tile) * tileBytes +
          threadIdx.x % 32 * 16;
      rows.begin(p.codes, p.sf, p.w.k, next.job.row0, next.job.rows);
    }
    const int left = kb - chunk * S::Chunk;
    if (left >= S::Chunk)
      fetchWeights<S, true>(half + S::kRowBytes + warp * S::kWarpBytes, w, toNextTile, S::Chunk);
    else
      fetchWeights<S, false>(half + S::kRowBytes + warp * S::kWarpBytes, w, toNextTile, left);
    w += S::Chunk * kSuperblockBytes;
    rows.load(p.w.k, 2 * left);
    return true;
  };

  bool hasNext = fetchNext(shared);
  if (hasNext) rows.store(reinterpret_cast<uint4*>(shared));
  Work work = next;
  float acc[S::Wide][S::Tiles][4] = {};
  std::uint8_t *now = shared, *then = shared + S::kHalfBytes;
  while (hasNext) {
    // Asked for when the item began, and now there.
    if (chunk == 0 && threadIdx.x == 0) upcoming[turn] = static_cast<int>(gridDim.x + taken);
    waitForCopies();
    __syncthreads();  // the chunk is there, and nobody reads the one before it any more
    hasNext = fetchNext(then);
    multiplyUsed<S>((work.job.rows + 7) / 8, acc, reinterpret_cast<const uint4*>(now),
                    now + S::kRowBytes + warp * S::kWarpBytes);
    if (hasNext) rows.store(reinterpret_cast<uint4*>(then));
    if (chunk == 0) {  // it was a job's last
      storeSums<S>(p, work, acc, report);
      work = next;
    }
    std::uint8_t* const other = now;
    now = then, then = other;
  }
  if (threadIdx.x == 0) {
    __threadfence();
    if (atomicAdd(turns + 1, 1u) == gridDim.x - 1) turns[0] = turns[1] = 0;
  }
}

template <class S>
void launch(const Launch& l, const W4A4Params& p, const ExpertRows& rows) {
  const std::size_t bytes = S::sharedBytes(rows.experts);
  cudaFuncSetAttribute(tilesKernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  const std::int64_t items = mostJobs(rows.slots, rows.experts, S::kRows) * ceilDiv(p.w.n, S::kColumns);
  const std::int64_t most = std::int64_t{l.multiprocessors} * S::Blocks;  // as many blocks as run at a time
  tilesKernel<S><<<static_cast<unsigned>(items < most ? items : most), S::kThreads, bytes, l.stream>>>(p, rows, l.turns,
                                                                                                       Report(l));
}

template <W4A4Math M>
void launchAs(const Launch& l, const W4A4Params& p, W4A4Kernel kernel, const ExpertRows& rows) {
  switch (kernel) {
    case W4A4Kernel::rows8: return launch<Rows8<M>>(l, p, rows);
    case W4A4Kernel::rows32: return launch<Rows32<M>>(l, p, rows);
    case W4A4Kernel::rows64: return launch<Rows64<M>>(l, p, rows);
    default: return launch<Rows128<M>>(l, p, rows);
  }
}

}  // namespace

void w4a4Tiles(const Launch& l, const W4A4Params& p, const W4A4Choice& choice, W4A4Math math, const std::int32_t* ends,
               std::int64_t slots) {
  const ExpertRows rows = {ends, p.w.matrices, slots, p.alpha, p.parts};
  if (math == W4A4Math::fast)
    launchAs<W4A4Math::fast>(l, p, choice.kernel, rows);
  else
    launchAs<W4A4Math::exact>(l, p, choice.kernel, rows);
}

}  // namespace megamoe::cuda
