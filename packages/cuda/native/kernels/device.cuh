// What kernels share: reports of errors in data, codecs by the rules of @megamoe/core, sums in an order of their own.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "launch.h"
#include "plant.h"

namespace megamoe::cuda {

// The part of Launch that kernels take.
struct Report {
  unsigned long long* status;
  unsigned long long serial;
#ifdef MEGAMOE_PLANT
  Plant plant = plantedNow();

  __device__ bool planted(Plant mistake) const { return plant == mistake; }
#else
  __device__ constexpr bool planted(Plant) const { return false; }
#endif

  explicit Report(const Launch& l) : status(l.status), serial(l.serial) {}

  __device__ void operator()(DataError kind, std::int64_t index) const {
    const unsigned long long at = static_cast<unsigned long long>(index < 0 ? 0 : index) & kIndexMask;
    atomicMin(status, serial << kSerialShift | at << kIndexShift | static_cast<unsigned long long>(kind));
  }
};

__device__ __forceinline__ bool isFinite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// Value of an E2M1 code: its bits are those of a half, 2^-14 times the value.
__device__ __forceinline__ float decodeE2m1(unsigned code) {
  const unsigned short bits = static_cast<unsigned short>((code & 8u) << 12 | (code & 7u) << 9);
  return __half2float(__ushort_as_half(bits)) * 16384.f;
}

// Value of an E4M3 byte; scales are never NaN.
__device__ __forceinline__ float decodeE4m3(unsigned byte) {
  const float magnitude = __uint_as_float((byte & 0x7fu) << 20) * 0x1p120f;
  return byte & 0x80u ? -magnitude : magnitude;
}

__device__ __forceinline__ float decodeBf16(unsigned bits) { return __uint_as_float(bits << 16); }

// The BF16 bit pattern nearest to x, ties to even; NaN stays NaN.
__device__ __forceinline__ unsigned encodeBf16(float x) {
  const unsigned u = __float_as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return u >> 16 | 0x40u;
  return (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
}

// The E2M1 code nearest to x, ties to the even code, saturating; -0 becomes code 0.
__device__ __forceinline__ unsigned encodeE2m1(float x) {
  const float a = fabsf(x);
  const unsigned code = unsigned(a > .25f) + unsigned(a >= .75f) + unsigned(a > 1.25f) + unsigned(a >= 1.75f) +
                        unsigned(a > 2.5f) + unsigned(a >= 3.5f) + unsigned(a > 5.f);
  return code | (x < 0.f ? 8u : 0u);
}

// The E4M3 byte nearest to a, ties to even; a in [2^-9, 448].
__device__ __forceinline__ unsigned encodeScale(float a) {
  if (a >= 448.f) return 0x7e;
  if (a < 0x1p-6f) return static_cast<unsigned>(rintf(a * 512.f));
  const unsigned bits = __float_as_uint(a);
  return ((bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20) - (120u << 3);
}

// The sum over the lanes of a warp, in every lane; always the same tree.
template <class T>
__device__ __forceinline__ T warpSum(T v) {
#pragma unroll
  for (int half = 16; half > 0; half /= 2) v += __shfl_xor_sync(0xffffffffu, v, half);
  return v;
}

__device__ __forceinline__ float warpMax(float v) {
#pragma unroll
  for (int half = 16; half > 0; half /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, half));
  return v;
}

// The sum over a block of `Warps` warps, in every thread. `shared` holds Warps values and may be used again after the
// next barrier.
template <int Warps, class T>
__device__ __forceinline__ T blockSum(T v, T* shared) {
  v = warpSum(v);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  T sum = shared[0];
#pragma unroll
  for (int w = 1; w < Warps; w++) sum += shared[w];
  __syncthreads();
  return sum;
}

// The expert of a row: the first whose end lies beyond it.
__device__ __forceinline__ std::int32_t expertOf(const std::int32_t* ends, std::int32_t experts, std::int64_t row) {
  std::int32_t low = 0, high = experts - 1;
  while (low < high) {
    const std::int32_t mid = (low + high) / 2;
    if (ends[mid] > row)
      high = mid;
    else
      low = mid + 1;
  }
  return low;
}

}  // namespace megamoe::cuda
