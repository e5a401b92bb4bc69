// Float32 activations against NVFP4 weights (W4A16): the rule that every instruction set computes, bit for bit.
//
// The 16 activations of a block become integers with a common exponent, so that a block's dot product is an exact
// integer whatever order a processor adds in:
//   E = floor(log2(largest magnitude of the block)), at least -100 and at least R - 60, R being the largest E of the
//   row q_i = round(a_i * 2^(21 - E)), ties to even: 22 bits and a sign, an error of 2^-23 of the block's largest value
//   dot = sum q_i * 2*w_i, an integer below 2^30; t = float32(dot)
//   acc = float32(acc + float32(t * (scale * 2^(E - R)))), over blocks in ascending k; the inner product is exact
//   out = float32(alpha * (acc * 2^(R - 22)))
// A row with a NaN or an infinity gives NaN in all columns.
//
// Compiled with instruction-set flags as well: private functions only.
#pragma once

#include <cstdint>
#include <cstring>

namespace megamoe::gemm::nvfp4 {

namespace {

constexpr std::uint32_t kMagnitude = 0x7fffffffu;
constexpr std::uint32_t kNotFinite = 0x7f800000u;  // magnitudes from here on
constexpr int kLeastExponent = -100;
constexpr int kExponentSpan = 60;

inline float powerOfTwo(int e) {  // -126 to 127
  const std::uint32_t bits = static_cast<std::uint32_t>(e + 127) << 23;
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}

// R of a row, from the bits of its largest magnitude.
inline int rowExponent(std::uint32_t amaxBits) {
  const int e = static_cast<int>(amaxBits >> 23) - 127;
  return e < kLeastExponent ? kLeastExponent : e;
}

// E of a block.
inline int blockExponent(std::uint32_t amaxBits, int row) {
  const int e = rowExponent(amaxBits);
  return e < row - kExponentSpan ? row - kExponentSpan : e;
}

inline float quantizingFactor(int e) { return powerOfTwo(21 - e); }
inline float rowFactorOf(int row) { return powerOfTwo(row - 22); }

}  // namespace

}  // namespace megamoe::gemm::nvfp4
