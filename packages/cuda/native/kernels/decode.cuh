// Elements of weights as float32: one, or eight at a time.
#pragma once

#include "device.cuh"
#include "packed.cuh"
#include "packed.h"
#include "weight.h"

namespace megamoe::cuda {

// Element c of row `row` of all matrices. FP8 is rounded once, the others are exact; nvfp4 is without its global scale.
template <Format F>
__device__ __forceinline__ float decodeOne(const Weight& w, std::int64_t row, std::int64_t c) {
  const std::int64_t at = row * w.k + c;
  if constexpr (F == Format::f32) return static_cast<const float*>(w.data)[at];
  if constexpr (F == Format::bf16) return decodeBf16(static_cast<const std::uint16_t*>(w.data)[at]);
  if constexpr (F == Format::fp8) {
    const std::int64_t tiles = (w.k + 127) / 128;
    return decodeE4m3(static_cast<const std::uint8_t*>(w.data)[at]) *
           static_cast<const float*>(w.scales)[row * tiles + c / 128];
  }
  const unsigned byte = static_cast<const std::uint8_t*>(w.data)[at / 2];
  return decodeE2m1(c % 2 == 0 ? byte & 15u : byte >> 4) *
         decodeE4m3(static_cast<const std::uint8_t*>(w.scales)[at / 16]);
}

// Elements [c, c + 8), c a multiple of 8, all below K, rows whole multiples of 8 elements and memory aligned.
template <Format F>
__device__ __forceinline__ void decodeEight(const Weight& w, std::int64_t row, std::int64_t c, float (&out)[8]) {
  const std::int64_t at = row * w.k + c;
  if constexpr (F == Format::f32) {
    const float4* p = reinterpret_cast<const float4*>(static_cast<const float*>(w.data) + at);
    const float4 a = __ldg(p), b = __ldg(p + 1);
    out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
    out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
  } else if constexpr (F == Format::bf16) {
    const uint4 v = __ldg(reinterpret_cast<const uint4*>(static_cast<const std::uint16_t*>(w.data) + at));
    const unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      out[2 * i] = __uint_as_float(words[i] << 16);
      out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  } else if constexpr (F == Format::fp8) {
    const uint2 v = __ldg(reinterpret_cast<const uint2*>(static_cast<const std::uint8_t*>(w.data) + at));
    const float scale = __ldg(static_cast<const float*>(w.scales) + row * ((w.k + 127) / 128) + c / 128);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      out[i] = decodeE4m3(v.x >> (8 * i) & 0xffu) * scale;
      out[4 + i] = decodeE4m3(v.y >> (8 * i) & 0xffu) * scale;
    }
  } else if constexpr (F == Format::packed) {
    const std::uint8_t* superblock = static_cast<const std::uint8_t*>(w.data) +
                                     (row / kTileColumns * (w.k / kSuperblockK) + c / kSuperblockK) * kSuperblockBytes;
    const int r = static_cast<int>(row % kTileColumns), i = static_cast<int>(c % kSuperblockK / 16);
    const int first = static_cast<int>(c % 16);  // 0 or 8
    const float scale = unpackScale(__ldg(superblock + scalePlace(r, i)), 0) * kScaleUnit;
    const std::uint32_t* words = reinterpret_cast<const std::uint32_t*>(superblock) + i;
#pragma unroll
    for (int t = 0; t < 4; t++) {
      const PackedPlace place = placeOf(r, first + t);
      const std::uint32_t word = __ldg(words + 4 * place.lane);
      out[t] = decodeE2m1(codeOf(word, place.j, 0)) * scale;
      out[4 + t] = decodeE2m1(codeOf(word, place.j, 1)) * scale;
    }
  } else {
    const unsigned v = __ldg(reinterpret_cast<const unsigned*>(static_cast<const std::uint8_t*>(w.data) + at / 2));
    const float scale = decodeE4m3(__ldg(static_cast<const std::uint8_t*>(w.scales) + at / 16));
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = decodeE2m1(v >> (4 * i) & 15u) * scale;
  }
}

// One value of the clamped SwiGLU; the comparisons let a NaN through. The sigmoid in float64, rounded once.
__device__ __forceinline__ float swigluOf(float gate, float up, float limit) {
  const float g = gate > limit ? limit : gate;
  const float u = up > limit ? limit : up < -limit ? -limit : up;
  return static_cast<float>(static_cast<double>(g) / (1.0 + exp(-static_cast<double>(g))) * static_cast<double>(u));
}

}  // namespace megamoe::cuda
