// One pool of threads for all megamoe addons of a process, whichever release each was built from: two pools would put
// twice as many threads on the processors, and an operation of one addon would find its workers asleep because the
// other's ran last.
//
// Every addon exports a function that gives its own pool, and all addons use the pool of the one that was loaded first.
// The loader lists what it loaded in order and addons are never unloaded (-z nodelete), so all see the same first one:
// from any thread, in any Node environment, with nothing to agree on. Where that cannot be asked (other systems than
// Linux) each addon uses its own.
//
// What crosses is plain C. The version is in the function's name: addons that do not know each other's keep a pool
// each. No exception may cross, because each addon has a C++ runtime of its own: GuardedRange catches on the side that
// threw and throws there again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#endif

namespace megamoe {

// A pool as one addon hands it to another. Never destroyed.
struct PoolHandle {
  using Range = void (*)(void* context, std::int64_t begin, std::int64_t end) noexcept;
  void* pool;
  // Calls range(context, begin, end) for `ranges` ranges that cover [0, count), ranges <= count, and returns when all
  // are done.
  void (*run)(void* pool, std::int64_t count, std::int32_t ranges, Range range, void* context) noexcept;
};

// A function of ranges in a form that may run in another addon's threads; the first exception is kept for the caller.
template <class F>
class GuardedRange {
 public:
  explicit GuardedRange(F& fn) : fn_(fn) {}

  static void call(void* self, std::int64_t begin, std::int64_t end) noexcept {
    auto& guarded = *static_cast<GuardedRange*>(self);
    try {
      guarded.fn_(begin, end);
    } catch (...) {
      if (!guarded.failed_.exchange(true, std::memory_order_relaxed)) guarded.error_ = std::current_exception();
    }
  }

  // After all ranges have ended.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  F& fn_;
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

// Of type `const PoolHandle* ()`; cmake/export_thread_pool.cc defines it. Another PoolHandle gets another number.
constexpr const char* kPoolSymbol = "megamoe_thread_pool_v1";

// The pool of the first loaded addon that has one; `own` when there is none.
inline const PoolHandle& firstLoadedPool(const PoolHandle& own) {
#if defined(__linux__)
  struct Addons {
    std::vector<std::string> names;  // asked afterwards: the list is locked while it is read
    bool isShort = false;            // of memory: no exception may cross the loader, which ends the process
  } addons;
  const auto addIfAddon = [](dl_phdr_info* info, std::size_t, void* list) {
    auto& found = *static_cast<Addons*>(list);
    try {
      const std::string name = info->dlpi_name == nullptr ? "" : info->dlpi_name;
      constexpr std::size_t kEnd = 5;
      if (name.size() > kEnd && name.compare(name.size() - kEnd, kEnd, ".node") == 0) found.names.push_back(name);
      return 0;
    } catch (...) {
      found.isShort = true;
      return 1;  // ends the walk
    }
  };
  dl_iterate_phdr(addIfAddon, &addons);
  if (addons.isShort) throw std::bad_alloc();
  for (const std::string& name : addons.names) {
    void* const addon = dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD);  // waits while another thread is loading it
    if (addon == nullptr) continue;
    void* const symbol = dlsym(addon, kPoolSymbol);
    const PoolHandle* const pool = symbol == nullptr ? nullptr : reinterpret_cast<const PoolHandle* (*)()>(symbol)();
    dlclose(addon);  // the count that dlopen raised; it stays mapped
    if (pool != nullptr) return *pool;
  }
#endif
  return own;
}

}  // namespace megamoe
