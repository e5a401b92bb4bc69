// One GPU as one backend uses it: a stream, memory that is given back as a whole, and the errors of what ran there.
// Free of Node. An object is used by one thread at a time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "../kernels/launch.h"

namespace megamoe::cuda {

class Stopwatch;

// What the CUDA runtime refused.
class Failure : public std::runtime_error {
 public:
  Failure(cudaError_t code, const std::string& during);

  const cudaError_t code;
  // Whether nothing can run on the device any more before it is reset: its memory is gone.
  const bool isLost;
};

// Throws a Failure unless `code` is a success.
void check(cudaError_t code, const char* during);

// What there is to compute on.
struct Machine {
  int devices;  // 0 when none can be used; then `error` says why
  cudaError_t error;
  int driverVersion;   // of CUDA that the driver knows, as 13000; 0 without a driver
  int runtimeVersion;  // that this code was built with
};
Machine findMachine();

struct DeviceInfo {
  std::string name;
  int major, minor, multiprocessors;
  std::int64_t totalBytes, freeBytes, l2Bytes;
  bool hasCode;  // whether this build has code for it
};
DeviceInfo infoOf(int index);

// An error in data: which operation, counted as the host counts them, and where.
struct DataFailure {
  int operation;  // -1: none
  DataError kind;
  std::int64_t index;
};

class Device {
 public:
  explicit Device(int index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Memory of zeros.
  void* allocate(std::size_t bytes);
  // Gives back what `allocate` answered; anything else is ignored.
  void release(void* memory);
  // Room that is good until the next call of it, for work on the stream; grows.
  void* scratch(std::size_t bytes);

  // Where `from` is pinned, the copy is under way when this returns, and the caller leaves the memory alone until it is
  // done (mark, waitFor); else a copy has been taken.
  void upload(void* to, const void* from, std::size_t bytes);
  // Pins memory of the caller, from which uploads then go without a copy on the way, until unpin or close; it must stay
  // where it is as long. False where the system refuses: then it is memory like any other.
  bool pin(void* memory, std::size_t bytes);
  // Waits for uploads from it.
  void unpin(void* memory);
  // Remembers what has been launched up to here, as number `turn`; waitFor waits until that is done.
  void mark(std::size_t turn);
  void waitFor(std::size_t turn);
  void copy(void* to, const void* from, std::size_t bytes);
  void zero(void* to, std::size_t bytes);
  // After all earlier work; waits for it. The caller asks dataFailure next.
  void download(void* to, const void* from, std::size_t bytes);
  void synchronize();

  // A new step: errors in data of the one before are forgotten.
  void beginStep();
  // What the next kernels of operation number `operation` are launched with.
  Launch launch(int operation);
  // Throws what a launch of this operation refused.
  void launched(const char* operation);
  // The first error in data since the last step began or this was asked; after a download or synchronize.
  DataFailure dataFailure();

  // For benchmarks (limits.h). What is launched between the two waits until `stopClock`, which answers seconds.
  void startClock();
  double stopClock();
  // Bytes a second that a pass over [data, data + bytes) reads; operations a second of tensor cores.
  double readRate(const void* data, std::size_t bytes);
  double matrixRate(double operations);

  // Gives all memory back. Nothing can be done after that. Twice is fine.
  void close() noexcept;

  // For tests: makes the device fail as hardware does.
  void lose();

  int index() const { return index_; }
  bool isClosed() const { return isClosed_; }
  std::size_t allocatedBytes() const { return allocatedBytes_; }
  std::size_t allocations() const { return allocations_.size(); }

 private:
  void use(const char* during);
  [[noreturn]] void fail(cudaError_t code, const char* during);
  void require(cudaError_t code, const char* during);
  Stopwatch& stopwatch();
  void uploadPinned(char* to, const char* from, std::size_t bytes);

  static constexpr std::size_t kPinned = 8u << 20;
  const int index_;
  cudaStream_t stream_ = nullptr;
  std::map<void*, std::size_t> allocations_;
  std::size_t allocatedBytes_ = 0;
  unsigned long long* status_ = nullptr;      // and the counters of Launch::turns
  unsigned long long* hostStatus_ = nullptr;  // pinned
  void* scratch_ = nullptr;
  std::size_t scratchBytes_ = 0;
  void* pinned_[2] = {nullptr, nullptr};
  cudaEvent_t pinnedFree_[2] = {nullptr, nullptr};
  std::map<const char*, std::size_t> pinnedByCaller_;
  std::vector<cudaEvent_t> turns_;
  std::vector<std::uint8_t> operations_;  // by serial number in the step
  int multiprocessors_ = 0;
  std::unique_ptr<Stopwatch> stopwatch_;
  bool isClosed_ = false;
  bool isLost_ = false;
};

}  // namespace megamoe::cuda
