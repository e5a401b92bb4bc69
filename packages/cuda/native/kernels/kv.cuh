// Keys as a cache holds them.
#pragma once

#include "device.cuh"

namespace megamoe::cuda {

// Bits of a BF16 value: the upper half of a float32's.
struct Bf16 {
  std::uint16_t bits;
};

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(Bf16 x) { return decodeBf16(x.bits); }

// Rounds to nearest, ties to even; float32 stays as it is.
__device__ __forceinline__ void hold(float& to, float x) { to = x; }
__device__ __forceinline__ void hold(Bf16& to, float x) { to.bits = static_cast<std::uint16_t>(encodeBf16(x)); }

}  // namespace megamoe::cuda
