// A megamoe addon as far as the shared pool is concerned; shared_pool_test.cc loads copies of it.
#include <megamoe/thread_pool.h>

#include <stdexcept>
#include <string>

#if defined(__linux__)
#include <unistd.h>
#include <sys/syscall.h>
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {
struct Own : std::runtime_error {
  using std::runtime_error::runtime_error;
};
}  // namespace

// The pool that it uses.
EXPORT const void* usedPool() { return megamoe::sharedPool().pool; }

// Its own, whether it uses it or not.
EXPORT const void* ownPool() { return megamoe::ThreadPool::own().pool; }

// Runs `threads` ranges that wait for each other; ids[i] is the thread that ran range i.
EXPORT void meet(int threads, long* ids) {
  std::atomic<int> started{0};
  megamoe::parallelFor(threads, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) ids[i] = syscall(SYS_gettid);
    started++;
    while (started < threads) std::this_thread::yield();
  });
}

// Ranges of a call and of a call inside it: 1 when the inner ones ran inline.
EXPORT int nests() {
  std::atomic<int> whole{0};
  megamoe::parallelFor(4, 4, [&](std::int64_t, std::int64_t) {
    megamoe::parallelFor(10, 4, [&](std::int64_t begin, std::int64_t end) { whole += begin == 0 && end == 10; });
  });
  return whole == 4;
}

// 1 when an exception of a range, of a type that only this addon knows, arrives as what it is.
EXPORT int throws() {
  try {
    megamoe::parallelFor(16, 4, [](std::int64_t begin, std::int64_t) {
      if (begin > 0) throw Own("range " + std::to_string(begin > 0));
    });
  } catch (const Own& error) {
    return std::string(error.what()) == "range 1";
  }
  return 0;
}
