// What one core can do at most: single passes and instruction peaks, one table per instruction set.
#pragma once

#include <cstdint>

namespace megamoe::ceilings {

// Accumulators of a peak: enough to hide the latency of a multiply-add on every processor that has the instruction.
constexpr int kAccumulators = 12;

// A loop of independent multiply-adds that stay in registers.
struct Peak {
  double operationsPerRound = 0;                // multiplications and additions counted apart, as everywhere
  float (*run)(std::int64_t rounds) = nullptr;  // null: this instruction set has none; the result keeps the loop alive
};

struct Passes {
  const char* isa = nullptr;
  // Sum of the 64-bit words; bytes is a multiple of 512 and p is aligned to 64.
  std::uint64_t (*read)(const std::uint8_t* p, std::int64_t bytes) = nullptr;
  // Largest of n floats; n is a multiple of 16 and x is aligned to 64.
  float (*max)(const float* x, std::int64_t n) = nullptr;
  Peak vpdpbusd, vdpbf16ps, fma;
};

namespace generic {
extern const Passes kPasses;
}
#if defined(MEGAMOE_CEILINGS_X86)
namespace avx2 {
extern const Passes kPasses;
}
namespace avx512 {
extern const Passes kPasses;
}
#endif
#if defined(MEGAMOE_CEILINGS_ARM64)
namespace neon {
extern const Passes kPasses;
}
#endif

}  // namespace megamoe::ceilings
