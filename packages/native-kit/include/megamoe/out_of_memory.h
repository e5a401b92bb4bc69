// What an allocation throws that the system refuses: std::bad_alloc that says how much was asked for.
//
// On Linux cmake/out_of_memory.cc, compiled into every addon, has `new` throw it. Elsewhere it is the standard
// library's std::bad_alloc, and messages name the function alone.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace megamoe {

class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(std::size_t bytes) noexcept {
    std::snprintf(text_, sizeof text_, "cannot allocate %zu bytes", bytes);
  }
  const char* what() const noexcept override { return text_; }

 private:
  char text_[48];
};

// Writes "function: out of memory: cannot allocate 123 bytes"; allocates nothing itself.
inline void outOfMemoryText(char* text, std::size_t size, const char* function, const std::bad_alloc& error) {
  const auto* const known = dynamic_cast<const OutOfMemory*>(&error);
  std::snprintf(text, size, known == nullptr ? "%s: out of memory" : "%s: out of memory: %s", function, error.what());
}

// Whether exceptions can be thrown when memory runs out. The C++ runtime keeps a block for that, which it takes when
// the addon is loaded; where there was no memory for it, throwing would end the process. Its size is the runtime's own
// (libsupc++/eh_alloc.cc), about this.
inline bool canThrow() noexcept {
  constexpr std::size_t kReserve = 1 << 17;
  void* volatile block = std::malloc(kReserve);
  std::free(block);
  return block != nullptr;
}

}  // namespace megamoe
