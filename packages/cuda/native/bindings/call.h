// Arguments of a native function: a device, then numbers in order. Addresses come from TypeScript, which knows what it
// allocated and has checked shapes; what is checked here is that they are numbers.
#pragma once

#include <megamoe/napi_args.h>
#include <megamoe/napi_kernels.h>

#include "../device/device.h"

namespace megamoe::cuda {

// The device that an argument holds.
Device& deviceArgument(const NapiArgs& args, std::size_t i);

class Call {
 public:
  // `count` arguments after the device.
  Call(const Napi::CallbackInfo& info, const char* name, std::size_t count)
      : args_(info, name, count + 1), device(deviceArgument(args_, 0)) {}

  std::int64_t integer() {
    const std::size_t i = next_++;
    return args_.integer(i, names(i), -1);
  }
  double number() {
    const std::size_t i = next_++;
    return args_.number(i, names(i));
  }
  float real() { return static_cast<float>(number()); }
  bool flag() { return integer() != 0; }
  // Device memory, or null for 0.
  template <class T>
  T* pointer() {
    return reinterpret_cast<T*>(static_cast<std::uintptr_t>(integer()));
  }

  void skip() { next_++; }

  const NapiArgs& args() const { return args_; }

 private:
  static const char* names(std::size_t) { return "argument"; }

  NapiArgs args_;
  std::size_t next_ = 1;

 public:
  Device& device;
};

// A call that launches kernels of an operation of the list: its number there comes after the device.
class OpCall : public Call {
 public:
  OpCall(const Napi::CallbackInfo& info, const char* name, std::size_t count)
      : Call(info, name, count + 1), launch(device.launch(static_cast<int>(integer()))), name_(name) {}

  void done() { device.launched(name_); }

  const Launch launch;

 private:
  const char* name_;
};

// Throws a Failure as a JavaScript error that says which error of CUDA it is.
[[noreturn]] void throwFailure(const Napi::CallbackInfo& info, const Failure& failure);

// Calls a function of the addon; what the runtime refuses becomes an error with fields `cudaError` and `isLost`.
template <auto function>
auto withDeviceErrors(const Napi::CallbackInfo& info) -> decltype(function(info)) {
  try {
    return function(info);
  } catch (const Failure& failure) {
    throwFailure(info, failure);
  }
}

template <auto function>
void exportDeviceFunction(Napi::Object exports, const char* name) {
  exportFunction<withDeviceErrors<function>>(exports, name);
}

void exportMemory(Napi::Object exports);
void exportRows(Napi::Object exports);
void exportExperts(Napi::Object exports);
void exportAttention(Napi::Object exports);
void exportLimits(Napi::Object exports);

}  // namespace megamoe::cuda
