// BF16 activations against NVFP4 weights: the rule that every instruction set computes, bit for bit. It is what
// vdpbf16ps does, which adds two products to an accumulator, the upper one first, each as a fused multiply-add rounded
// to nearest even.
//
//   a = bf16(activation), nearest even; magnitudes below 2^-100 are 0, so that no sum can be subnormal (vdpbf16ps
//   flushes those) w = code * block scale, exact in BF16 acc = fma(a[k], w[k], acc) in float32, over groups of 8 k
//   ascending, within a group in the order of kOrder out = float32(alpha * acc)
//
// Compiled with instruction-set flags as well: private functions only.
#pragma once

#include <cstdint>
#include <cstring>

namespace megamoe::gemm::nvfp4 {

namespace {

// Pairs come from one 16-bit lookup in the packed codes (k = j and j + 2 lie 16 bits apart), upper element first.
constexpr int kOrder[8] = {2, 0, 6, 4, 3, 1, 7, 5};

constexpr std::uint32_t kLeastBf16 = (127u - 100u) << 7;  // 2^-100

// BF16 bits of an activation; NaN stays NaN.
inline std::uint32_t activationBf16(float x) {
  std::uint32_t u;
  std::memcpy(&u, &x, 4);
  const std::uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (u >> 16) | 0x40;
  const std::uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  return (rounded & 0x7fff) < kLeastBf16 ? 0 : rounded;
}

}  // namespace

}  // namespace megamoe::gemm::nvfp4
