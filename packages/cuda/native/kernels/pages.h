// Where rows of sequences lie in the memory of all pages.
#pragma once

#include <cstdint>

namespace megamoe::cuda {

// Row w of sequence s lies in page ids[base[s] + w / rows].
struct Pages {
  const std::int32_t* base;  // [sequences] where page 0 would stand in ids
  const std::int32_t* ids;
  std::int32_t rows;  // of a page

#ifdef __CUDACC__
  __device__ __forceinline__ std::int64_t at(std::int32_t s, std::int32_t w) const {
    return static_cast<std::int64_t>(ids[base[s] + w / rows]) * rows + w % rows;
  }
#endif
};

// The rows of a step.
struct StepRows {
  const std::int32_t* positions;    // [rows]
  const std::int32_t* rowSequence;  // [rows]
  std::int64_t rows;
};

}  // namespace megamoe::cuda
