// What every launch is given besides its arguments: where it runs, and where it reports errors in data.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace megamoe::cuda {

// What only a pass over the data can find. The host says it in words (src/data-errors.ts has the same numbers).
enum class DataError : unsigned {
  none = 0,
  index = 1,        // an index outside its range
  notFinite = 2,    // NaN or infinity in an input
  badScale = 3,     // a global scale that cannot be used
  badAlpha = 4,     // an alpha that is not finite
  badBias = 5,      // NaN in a router's bias
  badToken = 6,     // a token id outside the table
  badExpert = 7,    // an expert id outside [0, E)
  badSink = 8,      // NaN in sinks
  badSelected = 9,  // an entry that is not visible, does not ascend, or stands after -1
  badEnds = 10,     // offsets that are no cumulative ends
};

// The first error of a step: launches are numbered, and of one launch the lowest index wins, whichever thread came
// first. All ones: none.
constexpr unsigned long long kNoError = ~0ull;
constexpr int kSerialShift = 44, kIndexShift = 4;
constexpr unsigned long long kIndexMask = (1ull << (kSerialShift - kIndexShift)) - 1;

struct Launch {
  cudaStream_t stream;
  unsigned long long* status;  // device memory
  unsigned* turns;             // two counters in device memory, 0; whose kernel counts with them leaves them 0
  unsigned long long serial;   // number of this operation in the step
  int multiprocessors;
};

// ceil(a / b) for sizes.
constexpr std::int64_t ceilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace megamoe::cuda
