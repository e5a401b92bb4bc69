#include <megamoe/test.h>
#include <megamoe/thread_pool.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <set>
#include <stdexcept>

using megamoe::ThreadPool;

namespace {

void coversEveryItemOnce() {
  ThreadPool pool;
  for (std::int64_t count : {0, 1, 2, 3, 7, 64, 1000}) {
    for (int threads : {-1, 0, 1, 2, 3, 8, 1000000}) {
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
      pool.parallelFor(count, threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; i++) seen[static_cast<std::size_t>(i)]++;
      });
      bool once = true;
      for (const auto& s : seen) once = once && s == 1;
      CHECK(once);
    }
  }
}

void splitDependsOnArgumentsAlone() {
  ThreadPool pool;
  std::set<std::pair<std::int64_t, std::int64_t>> first;
  for (int repeat = 0; repeat < 50; repeat++) {
    std::mutex mutex;
    std::set<std::pair<std::int64_t, std::int64_t>> ranges;
    pool.parallelFor(103, 4, [&](std::int64_t begin, std::int64_t end) {
      std::lock_guard<std::mutex> lock(mutex);
      ranges.insert({begin, end});
    });
    if (repeat == 0) first = ranges;
    CHECK(ranges == first);
    CHECK(ranges.size() == 4);
  }
}

void keepsSmallWorkOnTheCaller() {
  ThreadPool pool;
  int calls = 0;  // not atomic: one call means one thread
  pool.parallelFor(100, 8, 64, [&](std::int64_t begin, std::int64_t end) {
    calls++;
    CHECK(begin == 0 && end == 100);
  });
  CHECK(calls == 1);
}

void nestedCallsRunInline() {
  ThreadPool pool;
  std::atomic<int> total{0};
  pool.parallelFor(8, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i++) {
      pool.parallelFor(10, 4, [&](std::int64_t b, std::int64_t e) {
        CHECK(b == 0 && e == 10);
        total += static_cast<int>(e - b);
      });
    }
  });
  CHECK(total == 80);
}

void manyCallersAtOnce() {
  ThreadPool pool;
  std::vector<std::thread> callers;
  std::atomic<int> good{0};
  for (int c = 0; c < 6; c++) {
    callers.emplace_back([&, c] {
      for (int repeat = 0; repeat < 300; repeat++) {
        std::vector<int> out(97, -1);
        pool.parallelFor(97, 3, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; i++) out[static_cast<std::size_t>(i)] = c;
        });
        bool all = true;
        for (int v : out) all = all && v == c;
        good += all ? 1 : 0;
      }
    });
  }
  for (auto& t : callers) t.join();
  CHECK(good == 6 * 300);
}

void exceptionsReachTheCaller() {
  ThreadPool pool;
  for (int repeat = 0; repeat < 20; repeat++) {
    bool caught = false;
    try {
      pool.parallelFor(16, 4, [&](std::int64_t begin, std::int64_t) {
        if (begin > 0) throw std::runtime_error("range");
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    CHECK(caught);
  }
  std::atomic<int> sum{0};  // and the pool still works
  pool.parallelFor(10, 4, [&](std::int64_t b, std::int64_t e) { sum += static_cast<int>(e - b); });
  CHECK(sum == 10);
}

// Calls at every distance from the last: workers that look out, that are falling asleep, and that sleep.
void callsAtAnyPace() {
  ThreadPool pool;
  int good = 0;
  for (int repeat = 0; repeat < 400; repeat++) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(repeat % 40);
    while (std::chrono::steady_clock::now() < until) {
    }
    std::atomic<int> sum{0};
    pool.parallelFor(64, 2 + repeat % 4, [&](std::int64_t b, std::int64_t e) { sum += static_cast<int>(e - b); });
    good += sum == 64;
  }
  CHECK(good == 400);
}

// Ranges that wait for each other: every one needs a thread of its own, so every sleeping worker must have been woken.
void wakesAWorkerForEveryRange() {
  ThreadPool pool;
  for (int repeat = 0; repeat < 100; repeat++) {
    for (int threads : {2, 5, 3}) {
      std::atomic<int> started{0};
      pool.parallelFor(threads, threads, [&](std::int64_t, std::int64_t) {
        started++;
        while (started < threads) std::this_thread::yield();
      });
    }
    if (repeat % 20 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK(true);  // it came back
}

void idleWorkersSleep() {
  ThreadPool pool;
  std::atomic<int> started{0};
  pool.parallelFor(4, 4, [&](std::int64_t, std::int64_t) {
    started++;
    while (started < 4) std::this_thread::yield();
  });
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double used = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;  // of all threads
  CHECK(used < 0.02);
}

}  // namespace

int main() {
  coversEveryItemOnce();
  splitDependsOnArgumentsAlone();
  keepsSmallWorkOnTheCaller();
  nestedCallsRunInline();
  manyCallersAtOnce();
  exceptionsReachTheCaller();
  callsAtAnyPace();
  wakesAWorkerForEveryRange();
  idleWorkersSleep();
  // The shared pool is left running: the process must end cleanly with its workers asleep.
  std::atomic<int> sum{0};
  megamoe::parallelFor(10, 4, [&](std::int64_t b, std::int64_t e) { sum += static_cast<int>(e - b); });
  CHECK(sum == 10);
  return megamoe::test::finish();
}
