// A pool of sleeping threads with one operation: parallelFor.
//
// Rules it keeps:
// - The split of [0, count) depends on count, threads and grain alone, never on timing. Which thread runs which range is left open,
//   so a kernel must give each output element to one range and never combine partial results across ranges.
// - Idle workers wait on a condition variable; nothing spins.
// - Any number of threads (the main one, Node worker threads) may call at the same time; a call made from inside a range runs inline.
// - The shared pool is never destroyed and its threads are never joined, so process exit cannot race with them. Link the addon with
//   -z nodelete (MegamoeAddon.cmake does), so that unloading never unmaps code that a sleeping thread returns to.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace megamoe {

class ThreadPool {
 public:
  // More threads than this are never started, whatever is asked for.
  static constexpr int kMaxThreads = 256;

  ThreadPool() = default;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Joins the workers. Only for pools of limited life (tests); the shared pool is leaked on purpose.
  ~ThreadPool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  // The pool of this shared object, made at first use and never destroyed.
  static ThreadPool& shared() {
    static ThreadPool* const pool = new ThreadPool();
    return *pool;
  }

  // Calls fn(begin, end) for ranges that cover [0, count) once, on at most `threads` threads, the caller among them, and returns when
  // all are done. A range holds at least `grain` items, so that little work stays on the caller. The first exception thrown by
  // fn is thrown again here, after every other range has ended.
  template <class F>
  void parallelFor(std::int64_t count, int threads, std::int64_t grain, F&& fn) {
    if (count <= 0) return;
    const std::int64_t byGrain = std::max<std::int64_t>(1, count / std::max<std::int64_t>(1, grain));
    const int wanted = static_cast<int>(std::min<std::int64_t>({std::clamp(threads, 1, kMaxThreads), byGrain, count}));
    if (wanted == 1 || insideRange()) {
      fn(std::int64_t{0}, count);
      return;
    }
    using Fn = std::remove_reference_t<F>;
    Job job;
    job.count = count;
    job.ranges = wanted;
    job.context = const_cast<void*>(static_cast<const void*>(std::addressof(fn)));
    job.invoke = [](void* context, std::int64_t begin, std::int64_t end) { (*static_cast<Fn*>(context))(begin, end); };
    run(job);
  }

  template <class F>
  void parallelFor(std::int64_t count, int threads, F&& fn) {
    parallelFor(count, threads, 1, std::forward<F>(fn));
  }

 private:
  struct Job {
    std::int64_t count = 0;
    int ranges = 0;
    int claimed = 0;  // the rest is guarded by mutex_
    int finished = 0;
    std::exception_ptr error;
    std::condition_variable done;
    void* context = nullptr;
    void (*invoke)(void*, std::int64_t, std::int64_t) = nullptr;
    Job* next = nullptr;
  };

  // True while this thread runs a range: a nested call must not wait for workers that may all be waiting themselves.
  static bool& insideRange() {
    static thread_local bool inside = false;
    return inside;
  }

  void run(Job& job) {
    std::unique_lock<std::mutex> lock(mutex_);
    startWorkers(job.ranges - 1);
    Job** tail = &jobs_;
    while (*tail != nullptr) tail = &(*tail)->next;
    *tail = &job;
    const int helpers = std::min<int>(job.ranges - 1, static_cast<int>(workers_.size()));
    for (int i = 0; i < helpers; i++) wake_.notify_one();
    while (job.claimed < job.ranges) runOneRange(job, lock);
    job.done.wait(lock, [&] { return job.finished == job.ranges; });
    if (job.error) std::rethrow_exception(job.error);
  }

  // Takes the next range of `job`, runs it without the lock, and books it. Called with the lock held and a range left.
  void runOneRange(Job& job, std::unique_lock<std::mutex>& lock) {
    const std::int64_t index = job.claimed++;
    if (job.claimed == job.ranges) unlink(job);
    lock.unlock();
    std::exception_ptr error;
    insideRange() = true;
    try {
      job.invoke(job.context, split(job, index), split(job, index + 1));
    } catch (...) {
      error = std::current_exception();
    }
    insideRange() = false;
    lock.lock();
    if (error && !job.error) job.error = error;
    // The job lives on its caller's stack: notify under the lock, and do not touch it after the last range is booked.
    if (++job.finished == job.ranges) job.done.notify_one();
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

  // Grows the team to `wanted` workers. A system that refuses a thread leaves the team smaller: the caller then runs more ranges.
  void startWorkers(int wanted) {
    while (static_cast<int>(workers_.size()) < wanted) {
      try {
        workers_.emplace_back([this] { work(); });
      } catch (const std::system_error&) {
        return;
      }
    }
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || jobs_ != nullptr; });
      if (jobs_ == nullptr) return;  // stopping, and nothing is left to run
      runOneRange(*jobs_, lock);
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  Job* jobs_ = nullptr;
  bool stopping_ = false;
};

// parallelFor on the shared pool.
template <class F>
void parallelFor(std::int64_t count, int threads, std::int64_t grain, F&& fn) {
  ThreadPool::shared().parallelFor(count, threads, grain, std::forward<F>(fn));
}

template <class F>
void parallelFor(std::int64_t count, int threads, F&& fn) {
  ThreadPool::shared().parallelFor(count, threads, 1, std::forward<F>(fn));
}

}  // namespace megamoe
