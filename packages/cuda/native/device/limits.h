// What a benchmark asks of a device: how long kernels run by its own clock, and what it could do at most.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace megamoe::cuda {

// The time between two places of a stream. What is launched between `start` and `stop` waits on the device until
// `stop`: kernels then follow each other as they would in a long queue, and the host's time to launch them is not in
// it.
class Stopwatch {
 public:
  Stopwatch();
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void start(cudaStream_t stream);
  // Waits for what was launched; seconds.
  double stop(cudaStream_t stream);
  // Lets what was launched run. Twice is fine.
  void open() noexcept;

 private:
  void release() noexcept;

  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  volatile unsigned* isOpen_ = nullptr;  // pinned memory of the host, which the device reads
};

// Bytes of one pass over memory, in whole pieces of 16.
void readPass(cudaStream_t stream, int multiprocessors, const void* data, std::size_t bytes, void* sink);

// Products of tensor cores, mma.sync.m16n8k16 with f16 operands and float32 sums, all in registers: what that
// instruction can do when nothing has to be fetched. Answers how many operations that is, about as many as asked for.
double multiplyPass(cudaStream_t stream, int multiprocessors, double operations, void* sink);

// Room that passes need for what they never write.
constexpr std::size_t kSinkBytes = 16;

}  // namespace megamoe::cuda
