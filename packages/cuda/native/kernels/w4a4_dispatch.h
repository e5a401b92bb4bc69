// Which kernel multiplies quantized rows. The host does not know how many rows an expert has, only how many there are
// in all; whatever is chosen, the bits are the same. The one place that says so: kernels, scratch and tests ask here.
#pragma once

#include <cstdint>

namespace megamoe::cuda {

enum class W4A4Kernel : int { plain, rows8, rows32, rows64, rows128 };

// exact: the contract's bits. fast: sums stay in the tensor core, within a bound (w4a4.h).
enum class W4A4Math : int { exact, fast };

struct W4A4Choice {
  W4A4Kernel kernel;
  int rows;  // of a job
};

// `slots` rows over `experts` experts, with weights that are packed or not. Measured on an H200: native/bench.
constexpr W4A4Choice chooseW4A4(bool isPacked, std::int64_t slots, std::int64_t experts) {
  if (!isPacked) return {W4A4Kernel::plain, 8};
  const std::int64_t each = slots / experts;
  if (each < 9) return {W4A4Kernel::rows8, 8};
  if (each < 32) return {W4A4Kernel::rows32, 32};
  if (each < 64) return {W4A4Kernel::rows64, 64};
  return {W4A4Kernel::rows128, 128};
}

}  // namespace megamoe::cuda
