// Codes of a packed superblock. A word of a lane holds eight: for j = 0 .. 3 the codes of (row, k) and (row, k + 1),
// the first in the lower half word, where row is g or g + 8 (j odd), k is 2t or 2t + 8 (j above 1), g = lane / 4, t =
// lane % 4. Their bits lie so that a mask, or a shift and a mask, make a half2 of 2^-14 times their values.
#pragma once

#include <cstdint>

namespace megamoe::cuda {

__host__ __device__ constexpr int signBit(int j) { return j == 0 ? 15 : j == 1 ? 12 : j == 2 ? 14 : 13; }
__host__ __device__ constexpr int valueBit(int j) { return 9 - 3 * j; }

// The four halves pairs of a word: the registers of operand A.
__device__ __forceinline__ void unpackWord(std::uint32_t x, std::uint32_t (&a)[4]) {
  a[0] = x & 0x8e008e00u;
  a[1] = (x << 3) & 0x8e008e00u;
  a[2] = ((x << 6) & 0x0e000e00u) | ((x << 1) & 0x80008000u);
  a[3] = ((x << 9) & 0x0e000e00u) | ((x << 2) & 0x80008000u);
}

// One code of a word: of pair j, the one of k + h.
__device__ __forceinline__ unsigned codeOf(std::uint32_t word, int j, int h) {
  return (word >> (signBit(j) + 16 * h) & 1u) << 3 | (word >> (valueBit(j) + 16 * h) & 7u);
}

}  // namespace megamoe::cuda
