#include "device.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "limits.h"
#include "probe.h"

namespace megamoe::cuda {

namespace {

// Devices that are open in this process, by index: a lost one is reset when the last that used it has gone.
std::mutex openMutex;
std::map<int, int> openCount;

bool losesDevice(cudaError_t code) {
  switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorUnknown:
    case cudaErrorDevicesUnavailable: return true;
    default: return false;
  }
}

std::string messageOf(cudaError_t code, const std::string& during) {
  return during + ": " + cudaGetErrorString(code) + " (" + cudaGetErrorName(code) + ")";
}

}  // namespace

Failure::Failure(cudaError_t c, const std::string& during)
    : std::runtime_error(messageOf(c, during)), code(c), isLost(losesDevice(c)) {}

void check(cudaError_t code, const char* during) {
  if (code != cudaSuccess) throw Failure(code, during);
}

Machine findMachine() {
  Machine m = {};
  cudaDriverGetVersion(&m.driverVersion);
  cudaRuntimeGetVersion(&m.runtimeVersion);
  m.error = cudaGetDeviceCount(&m.devices);
  if (m.error != cudaSuccess) {
    m.devices = 0;
    cudaGetLastError();  // not left for the next call
  }
  return m;
}

DeviceInfo infoOf(int index) {
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, index), "cudaGetDeviceProperties");
  check(cudaSetDevice(index), "cudaSetDevice");
  std::size_t freeBytes = 0, totalBytes = 0;
  check(cudaMemGetInfo(&freeBytes, &totalBytes), "cudaMemGetInfo");
  DeviceInfo info = {};
  info.name = p.name;
  info.major = p.major;
  info.minor = p.minor;
  info.multiprocessors = p.multiProcessorCount;
  info.totalBytes = static_cast<std::int64_t>(totalBytes);
  info.freeBytes = static_cast<std::int64_t>(freeBytes);
  info.l2Bytes = p.l2CacheSize;
  info.hasCode = hasCodeHere();
  return info;
}

Device::Device(int index) : index_(index) {
  {
    const std::lock_guard<std::mutex> lock(openMutex);
    openCount[index_]++;
  }
  try {
    check(cudaSetDevice(index_), "cudaSetDevice");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, index_), "cudaDeviceGetAttribute");
    check(cudaMalloc(reinterpret_cast<void**>(&status_), 2 * sizeof *status_), "cudaMalloc");
    check(cudaMemsetAsync(status_ + 1, 0, sizeof *status_, stream_), "cudaMemset");
    check(cudaMallocHost(reinterpret_cast<void**>(&hostStatus_), sizeof *hostStatus_), "cudaMallocHost");
    beginStep();
  } catch (...) {
    close();
    throw;
  }
}

Device::~Device() { close(); }

void Device::fail(cudaError_t code, const char* during) {
  const Failure failure(code, during);
  isLost_ = isLost_ || failure.isLost;
  cudaGetLastError();
  throw failure;
}

void Device::require(cudaError_t code, const char* during) {
  if (code != cudaSuccess) fail(code, during);
}

void Device::use(const char* during) {
  if (isClosed_) throw std::runtime_error(std::string(during) + ": the backend has been disposed");
  require(cudaSetDevice(index_), during);
}

void* Device::allocate(std::size_t bytes) {
  use("alloc");
  void* memory = nullptr;
  const std::size_t size = std::max<std::size_t>(bytes, 256);
  require(cudaMalloc(&memory, size), "alloc");
  allocations_[memory] = size;
  allocatedBytes_ += size;
  require(cudaMemsetAsync(memory, 0, size, stream_), "alloc");
  return memory;
}

void Device::release(void* memory) {
  if (isClosed_) return;
  const auto found = allocations_.find(memory);
  if (found == allocations_.end()) return;
  allocatedBytes_ -= found->second;
  allocations_.erase(found);
  cudaSetDevice(index_);
  cudaFree(memory);  // waits for what still uses it; on a lost device there is nothing to free
  cudaGetLastError();
}

void* Device::scratch(std::size_t bytes) {
  if (bytes <= scratchBytes_) return scratch_;
  use("scratch");
  if (scratch_ != nullptr) {
    require(cudaFree(scratch_), "scratch");
    scratch_ = nullptr;
    scratchBytes_ = 0;
  }
  const std::size_t size = (bytes + bytes / 4 + 0xfffff) & ~static_cast<std::size_t>(0xfffff);
  require(cudaMalloc(&scratch_, size), "scratch");
  scratchBytes_ = size;
  return scratch_;
}

void Device::uploadPinned(char* to, const char* from, std::size_t bytes) {
  for (int i = 0; i < 2; i++) {
    if (pinned_[i] != nullptr) continue;
    require(cudaMallocHost(&pinned_[i], kPinned), "upload");
    require(cudaEventCreateWithFlags(&pinnedFree_[i], cudaEventDisableTiming), "upload");
  }
  for (std::size_t at = 0, i = 0; at < bytes; at += kPinned, i++) {
    const std::size_t part = std::min(kPinned, bytes - at);
    require(cudaEventSynchronize(pinnedFree_[i % 2]), "upload");
    std::memcpy(pinned_[i % 2], from + at, part);
    require(cudaMemcpyAsync(to + at, pinned_[i % 2], part, cudaMemcpyHostToDevice, stream_), "upload");
    require(cudaEventRecord(pinnedFree_[i % 2], stream_), "upload");
  }
}

void Device::upload(void* to, const void* from, std::size_t bytes) {
  use("upload");
  if (bytes == 0) return;
  const char* begin = static_cast<const char*>(from);
  auto pinned = pinnedByCaller_.upper_bound(begin);  // the first that begins later
  const bool isPinned = pinned != pinnedByCaller_.begin() && begin + bytes <= (--pinned)->first + pinned->second;
  // Of pageable memory the runtime takes a copy before it returns.
  if (bytes <= 65536 || isPinned)
    require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "upload");
  else
    uploadPinned(static_cast<char*>(to), static_cast<const char*>(from), bytes);
}

bool Device::pin(void* memory, std::size_t bytes) {
  use("pin");
  const cudaError_t code = cudaHostRegister(memory, bytes, cudaHostRegisterDefault);
  if (code == cudaSuccess) {
    pinnedByCaller_[static_cast<const char*>(memory)] = bytes;
    return true;
  }
  if (Failure(code, "pin").isLost) fail(code, "pin");
  cudaGetLastError();
  return false;
}

void Device::unpin(void* memory) {
  if (isClosed_ || pinnedByCaller_.erase(static_cast<const char*>(memory)) == 0) return;
  cudaSetDevice(index_);
  cudaStreamSynchronize(stream_);
  cudaHostUnregister(memory);
  cudaGetLastError();  // of a lost device: nothing copies from there any more
}

void Device::mark(std::size_t turn) {
  use("mark");
  while (turns_.size() <= turn) {
    cudaEvent_t event;
    require(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "mark");
    turns_.push_back(event);
  }
  require(cudaEventRecord(turns_[turn], stream_), "mark");
}

void Device::waitFor(std::size_t turn) {
  use("waitFor");
  if (turn < turns_.size()) require(cudaEventSynchronize(turns_[turn]), "waitFor");
}

void Device::copy(void* to, const void* from, std::size_t bytes) {
  use("copy");
  if (bytes > 0) require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copy");
}

void Device::zero(void* to, std::size_t bytes) {
  use("zero");
  if (bytes > 0) require(cudaMemsetAsync(to, 0, bytes, stream_), "zero");
}

void Device::download(void* to, const void* from, std::size_t bytes) {
  use("download");
  if (bytes > 0) require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "download");
  synchronize();
}

void Device::synchronize() {
  use("synchronize");
  require(cudaMemcpyAsync(hostStatus_, status_, sizeof *status_, cudaMemcpyDeviceToHost, stream_), "synchronize");
  require(cudaStreamSynchronize(stream_), "synchronize");
}

void Device::beginStep() {
  use("planStep");
  operations_.clear();
  require(cudaMemsetAsync(status_, 0xff, sizeof *status_, stream_), "planStep");
}

Launch Device::launch(int operation) {
  use("launch");
  constexpr std::size_t kMost = (std::size_t{1} << (64 - kSerialShift)) - 2;
  if (operations_.size() < kMost) operations_.push_back(static_cast<std::uint8_t>(operation));
  return {stream_, status_, reinterpret_cast<unsigned*>(status_ + 1), operations_.size() - 1, multiprocessors_};
}

void Device::launched(const char* operation) { require(cudaGetLastError(), operation); }

DataFailure Device::dataFailure() {
  const unsigned long long status = *hostStatus_;
  if (status == kNoError) return {-1, DataError::none, 0};
  const std::size_t serial = static_cast<std::size_t>(status >> kSerialShift);
  const DataFailure failure = {serial < operations_.size() ? operations_[serial] : -1,
                               static_cast<DataError>(status & ((1u << kIndexShift) - 1)),
                               static_cast<std::int64_t>(status >> kIndexShift & kIndexMask)};
  beginStep();
  return failure;
}

Stopwatch& Device::stopwatch() {
  use("seconds");
  if (!stopwatch_) {
    stopwatch_ = std::make_unique<Stopwatch>();
    // Kernels are loaded when they are first launched, for which the device may have to be idle: not while one waits.
    void* sink = scratch(kSinkBytes);
    readPass(stream_, multiprocessors_, sink, kSinkBytes, sink);
    multiplyPass(stream_, multiprocessors_, 0, sink);
  }
  return *stopwatch_;
}

void Device::startClock() {
  try {
    stopwatch().start(stream_);
  } catch (const Failure& failure) {
    if (stopwatch_) stopwatch_->open();
    fail(failure.code, "seconds");
  }
}

double Device::stopClock() {
  try {
    return stopwatch().stop(stream_);
  } catch (const Failure& failure) {
    fail(failure.code, "seconds");
  }
}

double Device::readRate(const void* data, std::size_t bytes) {
  void* sink = scratch(kSinkBytes);
  startClock();
  readPass(stream_, multiprocessors_, data, bytes, sink);
  return static_cast<double>(bytes) / stopClock();
}

double Device::matrixRate(double operations) {
  void* sink = scratch(kSinkBytes);
  startClock();
  const double done = multiplyPass(stream_, multiprocessors_, operations, sink);
  return done / stopClock();
}

void Device::close() noexcept {
  if (isClosed_) return;
  isClosed_ = true;
  cudaSetDevice(index_);
  if (stopwatch_) stopwatch_->open();
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  for (const auto& allocation : allocations_) cudaFree(allocation.first);
  allocations_.clear();
  allocatedBytes_ = 0;
  cudaFree(status_);
  cudaFree(scratch_);
  if (hostStatus_ != nullptr) cudaFreeHost(hostStatus_);
  for (const auto& memory : pinnedByCaller_) cudaHostUnregister(const_cast<char*>(memory.first));
  pinnedByCaller_.clear();
  for (const cudaEvent_t event : turns_) cudaEventDestroy(event);
  turns_.clear();
  for (int i = 0; i < 2; i++) {
    if (pinned_[i] != nullptr) cudaFreeHost(pinned_[i]);
    if (pinnedFree_[i] != nullptr) cudaEventDestroy(pinnedFree_[i]);
  }
  stopwatch_.reset();
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  const std::lock_guard<std::mutex> lock(openMutex);
  if (--openCount[index_] == 0 && isLost_) cudaDeviceReset();  // the next backend finds a device that works
  cudaGetLastError();
}

void Device::lose() {
  use("lose");
  trapHere(stream_);
}

}  // namespace megamoe::cuda
