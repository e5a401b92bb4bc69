// Quantized rows on their way into shared memory, as operand B of products: e2m1 * e4m3, which a half holds exactly.
#pragma once

#include "device.cuh"
#include "packed.h"

namespace megamoe::cuda {

constexpr float kRowUnit = 0x1p7f;  // staged halves are 2^-7 times their values

// Eight codes (k 0 .. 7 of a word) times a scale, as pairs (0, 4), (1, 5), (2, 6), (3, 7): the order of packed.cuh.
__device__ __forceinline__ void expandWord(std::uint32_t codes, __half2 scale, std::uint32_t (&out)[4]) {
  // Upper bytes of halves: four of the even codes, four of the odd.
  const std::uint32_t even = ((codes << 4) & 0x80808080u) | ((codes << 1) & 0x0e0e0e0eu);
  const std::uint32_t odd = (codes & 0x80808080u) | ((codes >> 3) & 0x0e0e0e0eu);
  const std::uint32_t pairs[4] = {__byte_perm(even, 0, 0x2404), __byte_perm(odd, 0, 0x2404), even & 0xff00ff00u,
                                  odd & 0xff00ff00u};
#pragma unroll
  for (int t = 0; t < 4; t++) {
    const __half2 v = __hmul2(*reinterpret_cast<const __half2*>(&pairs[t]), scale);
    out[t] = *reinterpret_cast<const std::uint32_t*>(&v);
  }
}

// A byte of E4M3 as a half2 of 2^7 times its value.
__device__ __forceinline__ __half2 expandScale(std::uint32_t byte) {
  const std::uint32_t bits = byte * 0x00800080u;  // 2^-8 times the value
  return __hmul2(*reinterpret_cast<const __half2*>(&bits), __float2half2_rn(0x1p15f));
}

// A chunk: `Tiles` tiles of 8 rows, `Pairs` pairs of blocks of 16 k. In shared memory: [Pairs][8*Tiles rows][4] of 16
// bytes, what lane 4*(row % 8) + t takes for both blocks of a pair. Eight of them are permuted by the pair, so that
// neither who writes nor who reads waits for a bank.
template <int Threads, int Tiles, int Pairs>
class RowChunk {
 public:
  static constexpr int kRows = 8 * Tiles;
  static constexpr int kVectors = Pairs * kRows * 4;  // of 16 bytes

  // Where lane `lane` finds its 16 bytes of the first tile of rows; those of the next are 32 further on.
  __device__ __forceinline__ static int placeOf(int pair, int lane) { return pair * kRows * 4 + (lane ^ (pair & 7)); }

  // Begins with the rows of a job.
  __device__ __forceinline__ void begin(const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k,
                                        std::int64_t row0, int rows) {
    rows_ = rows;
    const std::int64_t row = row0 + rowOf(0);
    from_ = codes + row * (k / 2) + pairOf() * 16;
    sfFrom_ = sf + row * (k / 16) + pairOf() * 2;
  }

  // Fetches what this thread stages of a chunk, of which `pairs` pairs are before the end of K.
  __device__ __forceinline__ void load(std::int64_t k, int pairs) {
#pragma unroll
    for (int i = 0; i < kShare; i++) {
      if (rowOf(i) >= rows_) continue;
      codes_[i] = make_uint4(0, 0, 0, 0), sf_[i] = 0;  // past K: nothing is added
      if (pairOf() >= pairs) continue;
      codes_[i] = __ldg(reinterpret_cast<const uint4*>(from_ + i * kRowsApart * (k / 2)));
      sf_[i] = __ldg(reinterpret_cast<const std::uint16_t*>(sfFrom_ + i * kRowsApart * (k / 16)));
    }
    from_ += Pairs * 16;
    sfFrom_ += Pairs * 2;
  }

  // Stages it. Rows that are none stay as they are: nobody stores their products.
  __device__ __forceinline__ void store(uint4* shared) const {
#pragma unroll
    for (int i = 0; i < kShare; i++) {
      const int row = rowOf(i);
      if (row >= rows_) continue;
      const __half2 scale0 = expandScale(sf_[i] & 0xffu), scale1 = expandScale(sf_[i] >> 8);
      std::uint32_t out[4][4];
      expandWord(codes_[i].x, scale0, out[0]);
      expandWord(codes_[i].y, scale0, out[1]);
      expandWord(codes_[i].z, scale1, out[2]);
      expandWord(codes_[i].w, scale1, out[3]);
      uint4* to = shared + row / 8 * 32;
      const int first = placeOf(pairOf(), row % 8 * 4);
#pragma unroll
      for (int t = 0; t < 4; t++) to[first ^ t] = make_uint4(out[0][t], out[1][t], out[2][t], out[3][t]);
    }
  }

 private:
  static constexpr int kShare = (Pairs * kRows + Threads - 1) / Threads;
  static constexpr std::int64_t kRowsApart = Threads / Pairs;
  static_assert(Threads % Pairs == 0 && Pairs % 2 == 0);

  // Threads side by side take pairs side by side: few rows are few warps' work.
  __device__ __forceinline__ static int pairOf() { return static_cast<int>(threadIdx.x) % Pairs; }
  __device__ __forceinline__ static int rowOf(int i) {
    return static_cast<int>(threadIdx.x) / Pairs + i * static_cast<int>(kRowsApart);
  }

  const std::uint8_t *from_, *sfFrom_;
  int rows_;
  uint4 codes_[kShare];
  std::uint32_t sf_[kShare];
};

}  // namespace megamoe::cuda
