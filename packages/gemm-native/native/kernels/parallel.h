// Threads and scratch for files that are compiled with instruction-set flags.
//
// Such a file must not instantiate inline functions of shared headers (the thread pool, std::vector): the linker keeps
// one copy of each for the whole addon, and it might keep the one with wide instructions. So the pool and the memory
// are behind plain functions here, and the template below is private to each file that includes it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace megamoe::gemm {

// parallelFor of the shared pool (megamoe/thread_pool.h).
void runRanges(std::int64_t count, int threads, std::int64_t grain,
               void (*range)(void* context, std::int64_t begin, std::int64_t end), void* context);

// Buffers that a thread keeps between calls, so that a warm kernel allocates nothing. Functions that may hold a buffer
// at the same time on one thread need different slots.
enum class Slot : int { activations, panel, rows, hyper, scan, linear, staged, rounded, count };

// At least `bytes` bytes of this thread, 64-byte aligned; contents are whatever was left.
void* scratchBytes(Slot slot, std::size_t bytes);

namespace {

// fn(begin, end) for ranges that cover [0, count).
template <class F>
[[maybe_unused]] void eachRange(std::int64_t count, int threads, std::int64_t grain, F& fn) {
  const auto call = [](void* f, std::int64_t begin, std::int64_t end) { (*static_cast<F*>(f))(begin, end); };
  runRanges(count, threads, grain, call, &fn);
}

}  // namespace

}  // namespace megamoe::gemm
