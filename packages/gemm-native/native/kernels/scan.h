// Passes over logits, on the calling thread: one pass is shorter than waking another.
#pragma once

#include <cstdint>
#include <cstring>

namespace megamoe::gemm {

// What random numbers depend on, besides the token: key and counter words of Philox4x32-10.
struct Draw {
  std::uint32_t key0, key1, sequence, position;
};

// x [n], n >= 1, may hold -infinity. NaN and +infinity are found, not followed.
struct ScanKernels {
  // The first i of [begin, end) whose x[i] is NaN or infinite; -1 when there is none.
  std::int64_t (*firstNonFinite)(const float* x, std::int64_t begin, std::int64_t end);
  // Index of the largest, ties to the lowest; -1 - i when x[i] is the first NaN or +infinity.
  std::int64_t (*argmax)(const float* x, std::int64_t n);
  // How many have f32(x[i]/temperature) >= f32(kth/temperature), kth being the k-th largest, 1 <= k <= n, ties counted
  // one each; written as by atLeast. -1 when any is NaN or +infinity, or scanFloor finds nothing.
  std::int64_t (*top)(const float* x, std::int64_t n, std::int64_t k, float temperature, std::int64_t capacity,
                      std::int32_t* ids, float* values);
  // How many x[i] >= floor there are; the first `capacity` of them, ascending, go to ids and values. NaN is not at
  // least anything.
  std::int64_t (*atLeast)(const float* x, std::int64_t n, float floor, std::int64_t capacity, std::int32_t* ids,
                          float* values);
  // How many may be the largest exp(f32(x[i]/temperature)) / q of a draw (LogitsScan.mayWin of @megamoe/core); written
  // as by atLeast. -1 when any is NaN or +infinity, or the largest quotient is not finite.
  std::int64_t (*mayWin)(const float* x, std::int64_t n, float temperature, const Draw& draw, std::int64_t capacity,
                         std::int32_t* ids, float* values);
  // The share of the probability that stands before token id (LogitsScan.massBefore of @megamoe/core), 0 <= id < n. -1
  // as by mayWin.
  double (*massBefore)(const float* x, std::int64_t n, float temperature, std::int64_t id);
};

// The exponent of a value that is NaN or infinite is all ones: adding one to it carries into the top bit.
inline std::uint32_t exponentCarry(float v) {
  std::uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return (bits & 0x7fffffffu) + 0x00800000u;
}

// The smallest float32 whose quotient by temperature (above 0) is that of kth, rounded: division may round smaller
// logits to one value. False when it is more than 64 floats away (overflow, underflow).
bool scanFloor(float kth, float temperature, float* floor);

}  // namespace megamoe::gemm
