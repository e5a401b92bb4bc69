// Codes and scales of a packed superblock.
//
// A word of a lane holds eight codes: for j = 0 .. 3 those of (row, k) and (row, k + 4), the first in the lower half
// word, where row is g or g + 8 (j odd), k is t or t + 8 (j above 1), g = lane / 4, t = lane % 4. So the k of a block
// stand in an order of their own, the same for weights and rows: the sum of a block is exact in any order. The bits
// lie so that few masks and shifts make a half2 of 2^-14 times the values: shifts to the left run beside the others.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

namespace megamoe::cuda {

__host__ __device__ constexpr int signBit(int j) { return j == 0 ? 15 : j == 1 ? 7 : j == 2 ? 8 : 0; }
__host__ __device__ constexpr int valueBit(int j) { return j == 0 ? 9 : j == 1 ? 1 : j == 2 ? 12 : 4; }

// The four pairs of halves of a word: the registers of operand A.
__device__ __forceinline__ void unpackWord(std::uint32_t x, std::uint32_t (&a)[4]) {
  const std::uint32_t y = ((x >> 3) & 0x0e0e0e0eu) | ((x << 7) & 0x80808080u);  // the upper bytes of a[2] and a[3]
  a[0] = x & 0x8e008e00u;
  a[1] = (x << 8) & 0x8e008e00u;
  a[2] = y & 0xff00ff00u;
  a[3] = __byte_perm(y, 0, 0x2404);
}

// One code of a word: of pair j, the one of k + 4h.
__host__ __device__ __forceinline__ unsigned codeOf(std::uint32_t word, int j, int h) {
  return (word >> (signBit(j) + 16 * h) & 1u) << 3 | (word >> (valueBit(j) + 16 * h) & 7u);
}

// Where the codes of (row, k) of a block stand: the lane, and j and h of its word.
struct PackedPlace {
  int lane, j, h;
};
__host__ __device__ constexpr PackedPlace placeOf(int row, int k) {
  return {row % 8 * 4 + k % 4, row / 8 + k / 8 * 2, k / 4 % 2};
}
__host__ __device__ constexpr int scalePlace(int row, int block) { return 512 + row % 8 * 8 + row / 8 * 4 + block; }

// Scales have no sign and are no NaN, so a byte has room for one bit more of exponent: subnormal E4M3 values are made
// normal, and one mask makes a float32 of them all. 0 is for 0, where the codes are 0 too.
__host__ __device__ constexpr std::uint32_t packScale(std::uint32_t e4m3) {
  const std::uint32_t e = e4m3 >> 3 & 15u, m = e4m3 & 7u;
  if (e > 0) return (e + 3) << 3 | m;
  return m >= 4 ? 3u << 3 | (m << 1 & 7u) : m >= 2 ? 2u << 3 | (m << 2 & 7u) : m << 3;
}

// Byte i of four packed scales times 2^-21; of a packed 0 anything.
constexpr float kScaleUnit = 0x1p21f;
__device__ __forceinline__ float unpackScale(std::uint32_t four, int i) {
  const std::uint32_t moved = i < 3 ? four << (20 - 8 * i) : four >> 4;
  std::uint32_t bits;  // (moved & 0x0ff00000) | 0x30000000: the compiler makes two of it
  asm("lop3.b32 %0,%1,%2,%3,0xea;" : "=r"(bits) : "r"(moved), "r"(0x0ff00000u), "r"(0x30000000u));
  return __uint_as_float(bits);
}

// The same as two halves of 2^7 times its value.
constexpr float kHalfScaleUnit = 0x1p-7f;
__device__ __forceinline__ __half2 unpackHalfScale(std::uint32_t four, int i) {
  const std::uint32_t bits = __byte_perm(four, 0, i == 0 ? 0x4040 : i == 1 ? 0x4141 : i == 2 ? 0x4242 : 0x4343) * 0x80u;
  const std::uint32_t biased = bits + 0x30003000u;
  return *reinterpret_cast<const __half2*>(&biased);
}

}  // namespace megamoe::cuda
