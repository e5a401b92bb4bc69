// What the templates of this folder share.
//
// They are function templates over the vector types of ../avx2/lanes.h, ../avx512/lanes.h and ../neon/lanes.h. Those
// types live in anonymous namespaces, so every instantiation belongs to its file and no wide instruction reaches
// another one. Nothing here may be a plain inline function.
#pragma once

#include <cstdint>

#include "../parallel.h"

namespace megamoe::gemm::simd {

constexpr std::int64_t kWorkPerThread = 131072;  // multiply-adds that are worth waking a thread for
constexpr std::int64_t kCopyWork = 2;            // one element that is read and written, in multiply-adds
constexpr std::int64_t kExpWork = 8;             // one exponential

// Grain for eachRange when one item costs `work` multiply-adds.
static inline std::int64_t grainFor(std::int64_t work) {
  return work >= kWorkPerThread ? 1 : kWorkPerThread / (work > 0 ? work : 1);
}

static inline std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// Asks for the cache line of p, for the second-level cache.
[[maybe_unused]] static inline void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

}  // namespace megamoe::gemm::simd
