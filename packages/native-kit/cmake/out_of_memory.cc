// Compiled into every addon on Linux: its `new`, which says how much was asked for when there is no memory
// (megamoe/out_of_memory.h). The names are those of the C++ ABI for `operator new(std::size_t)` and
// `operator new(std::size_t, std::align_val_t)`: defined as operators they would be visible outside, and the program's
// own would be used in their place. Those of arrays call these, and `delete` calls free.
#include <megamoe/out_of_memory.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>

#if defined(__LP64__)
#define HIDDEN __attribute__((visibility("hidden")))

extern "C" HIDDEN void* megamoe_new(std::size_t bytes) __asm__("_Znwm");
extern "C" HIDDEN void* megamoe_new_aligned(std::size_t bytes, std::size_t alignment) __asm__("_ZnwmSt11align_val_t");

void* megamoe_new(std::size_t bytes) {
  void* const p = std::malloc(std::max<std::size_t>(bytes, 1));
  if (p == nullptr) throw megamoe::OutOfMemory(bytes);
  return p;
}

void* megamoe_new_aligned(std::size_t bytes, std::size_t alignment) {
  const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
  void* const p = whole < bytes ? nullptr : std::aligned_alloc(alignment, std::max(whole, alignment));
  if (p == nullptr) throw megamoe::OutOfMemory(bytes);
  return p;
}
#endif
