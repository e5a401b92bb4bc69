// Memory that a thread keeps between calls, so that a warm kernel allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace megamoe::gemm {

// At least `count` elements, owned by this thread; contents are whatever was left. Each Tag is a buffer of its own.
template <class T, class Tag>
T* threadScratch(std::int64_t count) {
  static thread_local std::vector<T> buffer;
  if (static_cast<std::int64_t>(buffer.size()) < count) buffer.resize(static_cast<std::size_t>(count));
  return buffer.data();
}

}  // namespace megamoe::gemm
