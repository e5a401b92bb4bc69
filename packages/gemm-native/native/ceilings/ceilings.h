// The machine's limits, for benchmarks: one timed pass per call, so that a caller can alternate it with what it
// measures.
#pragma once

#include <vector>

#include "passes.h"

namespace megamoe::ceilings {

enum class Kind : int { read = 0, copy = 1, max = 2, vpdpbusd = 3, vdpbf16ps = 4, fma = 5 };
constexpr int kKinds = 6;

constexpr std::int64_t kGrain = 512;  // memory kinds work in multiples of this
constexpr std::int64_t kMaxSpan = std::int64_t{1} << 30;

// The sets that can run here, best first; measure() takes the first one that has the kind.
const std::vector<const Passes*>& availablePasses();

// Does at least `amount` of work on `threads` threads and answers the rate per second: bytes (copy: bytes copied) or
// operations. Memory kinds go on through the first `span` bytes of one block, from where the call before stopped, so
// that a span above the last cache's size gives cold bytes; the block is kept. Negative: no instruction of that kind
// here. Throws std::bad_alloc. One call at a time does its work; others wait.
double measure(Kind kind, int threads, std::int64_t amount, std::int64_t span);

}  // namespace megamoe::ceilings
