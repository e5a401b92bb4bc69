#include "parallel.h"

#include <megamoe/thread_pool.h>

#include <memory>
#include <new>

#include "huge_pages.h"

namespace megamoe::gemm {

namespace {

struct Free {
  std::size_t bytes;
  void operator()(void* p) const { ::operator delete(p, blockAlignment(bytes)); }
};

struct Buffer {
  std::unique_ptr<void, Free> data{nullptr, Free{0}};
  std::size_t bytes = 0;
};

}  // namespace

void runRanges(std::int64_t count, int threads, std::int64_t grain, void (*range)(void*, std::int64_t, std::int64_t),
               void* context) {
  parallelFor(count, threads, grain, [&](std::int64_t begin, std::int64_t end) { range(context, begin, end); });
}

void* scratchBytes(Slot slot, std::size_t bytes) {
  static thread_local Buffer buffers[static_cast<int>(Slot::count)];
  Buffer& b = buffers[static_cast<int>(slot)];
  if (b.bytes < bytes) {
    b.data.reset();
    b.bytes = 0;
    b.data = std::unique_ptr<void, Free>(::operator new(bytes, blockAlignment(bytes)), Free{bytes});
    adviseHugePages(b.data.get(), bytes);
    b.bytes = bytes;
  }
  return b.data.get();
}

}  // namespace megamoe::gemm
