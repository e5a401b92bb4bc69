// What a benchmark asks of a device.
#include "call.h"

namespace megamoe::cuda {

namespace {

void startClock(const Napi::CallbackInfo& info) { Call(info, "startClock", 0).device.startClock(); }

Napi::Value stopClock(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), Call(info, "stopClock", 0).device.stopClock());
}

// (device, address, bytes): bytes a second
Napi::Value readRate(const Napi::CallbackInfo& info) {
  Call call(info, "readRate", 2);
  const void* data = call.pointer<const void>();
  return Napi::Number::New(info.Env(), call.device.readRate(data, static_cast<std::size_t>(call.integer())));
}

// (device, operations): operations a second
Napi::Value matrixRate(const Napi::CallbackInfo& info) {
  Call call(info, "matrixRate", 1);
  return Napi::Number::New(info.Env(), call.device.matrixRate(call.number()));
}

}  // namespace

void exportLimits(Napi::Object exports) {
  exportDeviceFunction<startClock>(exports, "startClock");
  exportDeviceFunction<stopClock>(exports, "stopClock");
  exportDeviceFunction<readRate>(exports, "readRate");
  exportDeviceFunction<matrixRate>(exports, "matrixRate");
}

}  // namespace megamoe::cuda
