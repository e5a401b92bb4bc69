// A pool of threads with one operation: parallelFor.
//
// Rules it keeps:
// - The split of [0, count) depends on count, threads and grain alone, never on timing. Which thread runs which range
// is left open,
//   so a kernel must give each output element to one range and never combine partial results across ranges.
// - Idle workers sleep. One that has just run out of work first looks out for more for kSpin, about what waking it
// costs, because the
//   next operation of a model step tends to follow at once; so does a caller whose last ranges run elsewhere. Never
//   more threads at a time than there are processors beside the caller's, and never longer.
// - A call wakes no more workers than it has ranges for them, and none when enough are looking out.
// - Any number of threads (the main one, Node worker threads) may call at the same time; a call made from inside a
// range runs inline.
// - The addons of a process share one pool (shared_pool.h). It is never destroyed and its threads are never joined, so
// process exit
//   cannot race with them. Link the addon with -z nodelete (MegamoeAddon.cmake does), so that unloading never unmaps
//   code that a sleeping thread returns to.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "shared_pool.h"

namespace megamoe {

class ThreadPool {
 public:
  // More threads than this are never started, whatever is asked for.
  static constexpr int kMaxThreads = 256;
  // How long a thread looks out before it sleeps: about what waking it costs (20 to 80 us, by how deep its processor
  // sleeps).
  static constexpr std::chrono::microseconds kSpin{50};

  ThreadPool() = default;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Joins the workers. Only for pools of limited life (tests); own() is leaked on purpose.
  ~ThreadPool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  // The pool of this shared object, made at first use and never destroyed.
  static const PoolHandle& own() {
    const auto run = [](void* pool, std::int64_t count, std::int32_t ranges, PoolHandle::Range range,
                        void* context) noexcept { static_cast<ThreadPool*>(pool)->run(count, ranges, range, context); };
    static const PoolHandle handle{new ThreadPool(), run};
    return handle;
  }

  // parallelFor below, on this pool.
  template <class F>
  void parallelFor(std::int64_t count, int threads, std::int64_t grain, F&& fn) {
    inRanges(count, threads, grain, fn, [this](auto... job) { run(job...); });
  }

  template <class F>
  void parallelFor(std::int64_t count, int threads, F&& fn) {
    parallelFor(count, threads, 1, fn);
  }

  // Cuts [0, count) into ranges and has run(count, ranges, range, context) call fn for each.
  template <class F, class Run>
  static void inRanges(std::int64_t count, int threads, std::int64_t grain, F& fn, Run&& run) {
    if (count <= 0) return;
    const std::int64_t byGrain = std::max<std::int64_t>(1, count / std::max<std::int64_t>(1, grain));
    const auto ranges =
        static_cast<std::int32_t>(std::min<std::int64_t>({std::clamp(threads, 1, kMaxThreads), byGrain, count}));
    if (ranges == 1) {
      fn(std::int64_t{0}, count);
      return;
    }
    GuardedRange<F> guarded(fn);
    run(count, ranges, GuardedRange<F>::call, static_cast<void*>(std::addressof(guarded)));
    guarded.rethrow();
  }

 private:
  struct Job {
    std::int64_t count = 0;
    int ranges = 0;
    PoolHandle::Range range = nullptr;
    void* context = nullptr;
    int claimed = 0;               // guarded by mutex_, like finished (written) and next
    std::atomic<int> finished{0};  // read by the caller without it
    std::condition_variable done;
    Job* next = nullptr;
  };

  // True while this thread runs a range: a nested call must not wait for workers that may all be waiting themselves.
  static bool& insideRange() {
    static thread_local bool inside = false;
    return inside;
  }

  using Lock = std::unique_lock<std::mutex>;

  void run(std::int64_t count, std::int32_t ranges, PoolHandle::Range range, void* context) noexcept {
    if (insideRange()) {
      range(context, 0, count);
      return;
    }
    Job job;
    job.count = count;
    job.ranges = ranges;
    job.range = range;
    job.context = context;
    Lock lock(mutex_, std::defer_lock);
    acquire(lock);
    startWorkers(job.ranges - 1);
    Job** tail = &jobs_;
    while (*tail != nullptr) tail = &(*tail)->next;
    *tail = &job;
    const int open = open_.load(std::memory_order_relaxed);
    open_.store(open + job.ranges, std::memory_order_relaxed);
    const int looking = std::max(0, lookouts_ - open);  // the others will take what was there before
    const int wake = std::min(job.ranges - 1 - looking, sleepers_);
    if (wake > 0) {  // without the lock: who wakes up needs it
      lock.unlock();
      for (int i = 0; i < wake; i++) wake_.notify_one();
      acquire(lock);
    }
    while (job.claimed < job.ranges) runOneRange(job, lock);
    const auto finished = [&] { return job.finished.load(std::memory_order_relaxed) == job.ranges; };
    if (!finished()) {
      lock.unlock();
      if (maxLookouts_ > 0) lookOut(finished);
      acquire(lock);
      job.done.wait(lock, finished);
    }
  }

  static void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
  }

  // The lock is held for a few instructions at a time: sleeping for it would take far longer than it takes to come
  // free.
  static void acquire(Lock& lock) {
    for (int i = 0; i < 64; i++) {
      if (lock.try_lock()) return;
      relax();
    }
    lock.lock();
  }

  // Waits for `seen` without the lock, for kSpin at most.
  template <class Seen>
  static void lookOut(Seen seen) {
    const auto end = std::chrono::steady_clock::now() + kSpin;
    while (!seen() && std::chrono::steady_clock::now() < end) {
      for (int i = 0; i < 4 && !seen(); i++) relax();
    }
  }

  // Takes the next range of `job`, runs it without the lock, and books it. Called with the lock held and a range left.
  void runOneRange(Job& job, Lock& lock) {
    const std::int64_t index = job.claimed++;
    open_.store(open_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    if (job.claimed == job.ranges) unlink(job);
    lock.unlock();
    insideRange() = true;
    job.range(job.context, split(job, index), split(job, index + 1));
    insideRange() = false;
    acquire(lock);
    // The job lives on its caller's stack: notify under the lock, and do not touch it after the last range is booked.
    if (job.finished.fetch_add(1, std::memory_order_relaxed) + 1 == job.ranges) job.done.notify_one();
  }

  // Start of range `index`; count * index / ranges without overflow.
  static std::int64_t split(const Job& job, std::int64_t index) {
    const std::int64_t whole = job.count / job.ranges;
    const std::int64_t rest = job.count % job.ranges;
    return whole * index + std::min(index, rest);
  }

  void unlink(Job& job) {
    Job** at = &jobs_;
    while (*at != &job) at = &(*at)->next;
    *at = job.next;
  }

  // Grows the team to `wanted` workers. A system that refuses a thread leaves the team smaller: the caller then runs
  // more ranges.
  void startWorkers(int wanted) {
    while (static_cast<int>(workers_.size()) < wanted) {
      try {
        workers_.emplace_back([this] { work(); });
      } catch (...) {
        return;
      }
    }
  }

  void work() {
#if defined(__linux__)
    prctl(PR_SET_NAME, "megamoe-pool");  // for those who look at the threads of a process
#endif
    Lock lock(mutex_);
    for (;;) {
      while (jobs_ != nullptr) runOneRange(*jobs_, lock);
      if (stopping_) return;
      if (lookouts_ < maxLookouts_) {
        lookouts_++;
        lock.unlock();
        lookOut([this] { return open_.load(std::memory_order_relaxed) > 0; });
        acquire(lock);
        lookouts_--;
        if (jobs_ != nullptr) continue;
      }
      sleepers_++;
      wake_.wait(lock, [this] { return stopping_ || jobs_ != nullptr; });
      sleepers_--;
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  Job* jobs_ = nullptr;  // those with ranges that nobody has taken, oldest first
  int sleepers_ = 0;
  int lookouts_ = 0;  // workers in lookOut
  bool stopping_ = false;
  const int maxLookouts_ = std::max(1, static_cast<int>(std::thread::hardware_concurrency())) - 1;
  // Ranges that nobody has taken; written with the lock, read by lookouts without.
  alignas(64) std::atomic<int> open_{0};
};

// The pool that all addons of the process use.
inline const PoolHandle& sharedPool() {
  static const PoolHandle& pool = firstLoadedPool(ThreadPool::own());
  return pool;
}

// Calls fn(begin, end) for ranges that cover [0, count) once, on at most `threads` threads of the pool that the process
// shares, the caller among them, and returns when all are done. A range holds at least `grain` items, so that little
// work stays on the caller. The first exception thrown by fn is thrown again here, after every other range has ended.
template <class F>
void parallelFor(std::int64_t count, int threads, std::int64_t grain, F&& fn) {
  ThreadPool::inRanges(count, threads, grain, fn, [](auto... job) {
    const PoolHandle& shared = sharedPool();
    shared.run(shared.pool, job...);
  });
}

template <class F>
void parallelFor(std::int64_t count, int threads, F&& fn) {
  parallelFor(count, threads, 1, fn);
}

}  // namespace megamoe
