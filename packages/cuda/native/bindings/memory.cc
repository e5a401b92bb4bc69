#include <cstdint>
#include <memory>

#include "../device/read_file.h"
#include "../kernels/packed.h"
#include "call.h"

namespace megamoe::cuda {

namespace {

// napi_type_tag of the objects that hold a device.
constexpr napi_type_tag kDeviceTag = {0x6d6567616d6f6531ull, 0x637564612d646576ull};

Napi::Value machine(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "machine", 0);
  const Machine m = findMachine();
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("devices", m.devices);
  out.Set("error", m.error == cudaSuccess ? "" : cudaGetErrorName(m.error));
  out.Set("message", m.error == cudaSuccess ? "" : cudaGetErrorString(m.error));
  out.Set("driverVersion", m.driverVersion);
  out.Set("runtimeVersion", m.runtimeVersion);
  return out;
}

Napi::Value deviceInfo(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "deviceInfo", 1);
  const DeviceInfo d = infoOf(static_cast<int>(args.integer(0, "index", 0, 1 << 20)));
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("name", d.name);
  out.Set("major", d.major);
  out.Set("minor", d.minor);
  out.Set("multiprocessors", d.multiprocessors);
  out.Set("totalBytes", static_cast<double>(d.totalBytes));
  out.Set("freeBytes", static_cast<double>(d.freeBytes));
  out.Set("l2Bytes", static_cast<double>(d.l2Bytes));
  out.Set("hasCode", d.hasCode);
  return out;
}

Napi::Value openDevice(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "openDevice", 1);
  auto device = std::make_unique<Device>(static_cast<int>(args.integer(0, "index", 0, 1 << 20)));
  Napi::External<Device> held =
      Napi::External<Device>::New(info.Env(), device.get(), [](Napi::Env, Device* d) { delete d; });
  device.release();
  held.TypeTag(&kDeviceTag);
  return held;
}

void closeDevice(const Napi::CallbackInfo& info) { Call(info, "closeDevice", 0).device.close(); }

// What has gone wrong in data, as [operation, kind, index]; null when nothing has.
Napi::Value failureOf(const Napi::CallbackInfo& info, Device& device) {
  const DataFailure f = device.dataFailure();
  if (f.kind == DataError::none) return info.Env().Null();
  Napi::Array out = Napi::Array::New(info.Env(), 3);
  out.Set(0u, f.operation);
  out.Set(1u, static_cast<double>(f.kind));
  out.Set(2u, static_cast<double>(f.index));
  return out;
}

Napi::Value allocate(const Napi::CallbackInfo& info) {
  Call call(info, "alloc", 1);
  const std::int64_t bytes = call.integer();
  void* memory = call.device.allocate(static_cast<std::size_t>(bytes < 0 ? 0 : bytes));
  return Napi::Number::New(info.Env(), static_cast<double>(reinterpret_cast<std::uintptr_t>(memory)));
}

void release(const Napi::CallbackInfo& info) {
  Call call(info, "free", 1);
  call.device.release(call.pointer<void>());
}

struct Bytes {
  char* data;
  std::int64_t length;
};

std::int64_t elementBytes(napi_typedarray_type type) {
  switch (type) {
    case napi_float64_array:
    case napi_bigint64_array:
    case napi_biguint64_array: return 8;
    case napi_float32_array:
    case napi_int32_array:
    case napi_uint32_array: return 4;
    case napi_int16_array:
    case napi_uint16_array: return 2;
    default: return 1;
  }
}

// The bytes of a typed array.
Bytes bytesArgument(const Call& call, std::size_t i) {
  const Napi::Env env = call.args().env();
  napi_typedarray_type type;
  std::size_t length = 0;
  void* data = nullptr;
  const napi_value array = call.args().value(i);
  if (napi_get_typedarray_info(env, array, &type, &length, &data, nullptr, nullptr) != napi_ok)
    throw Napi::TypeError::New(env, call.args().text("data") + " must be a typed array");
  return {static_cast<char*>(data), static_cast<std::int64_t>(length) * elementBytes(type)};
}

// [from, from + bytes) of it.
char* partOf(const Call& call, const Bytes& all, std::int64_t from, std::int64_t bytes) {
  if (from < 0 || bytes < 0 || from + bytes > all.length)
    throw Napi::RangeError::New(call.args().env(), call.args().text("data") + " is too short");
  return all.data + from;
}

// (device, address, array, first byte of it, bytes)
void upload(const Napi::CallbackInfo& info) {
  Call call(info, "upload", 4);
  void* to = call.pointer<void>();
  const Bytes all = bytesArgument(call, 2);
  call.skip();
  const std::int64_t from = call.integer(), bytes = call.integer();
  call.device.upload(to, partOf(call, all, from, bytes), static_cast<std::size_t>(bytes));
}

// (device, array) -> whether its memory is pinned now. Who calls keeps the array until it is unpinned.
Napi::Value pin(const Napi::CallbackInfo& info) {
  Call call(info, "pin", 1);
  const Bytes all = bytesArgument(call, 1);
  const bool isPinned = all.length > 0 && call.device.pin(all.data, static_cast<std::size_t>(all.length));
  return Napi::Boolean::New(info.Env(), isPinned);
}

void unpin(const Napi::CallbackInfo& info) {
  Call call(info, "unpin", 1);
  call.device.unpin(bytesArgument(call, 1).data);
}

void mark(const Napi::CallbackInfo& info) {
  Call call(info, "mark", 1);
  call.device.mark(static_cast<std::size_t>(call.args().integer(1, "turn", 0, 63)));
}

void waitFor(const Napi::CallbackInfo& info) {
  Call call(info, "waitFor", 1);
  call.device.waitFor(static_cast<std::size_t>(call.args().integer(1, "turn", 0, 63)));
}

// (device, file descriptor, array, first byte of it, bytes, position in the file) -> bytes read
Napi::Value readInto(const Napi::CallbackInfo& info) {
  Call call(info, "readFile", 5);
  const int file = static_cast<int>(call.args().integer(1, "file", 0, INT32_MAX));
  const Bytes all = bytesArgument(call, 2);
  const std::int64_t at = call.args().integer(3, "at", 0), bytes = call.args().integer(4, "bytes", 0);
  const std::int64_t position = call.args().integer(5, "position", 0);
  const std::int64_t there = readFile(file, partOf(call, all, at, bytes), bytes, position);
  return Napi::Number::New(info.Env(), static_cast<double>(there));
}

// Linear NVFP4 rows to packed ones: (device, packed weights, k, first row, rows, codes, sf)
void putPacked(const Napi::CallbackInfo& info) {
  Call call(info, "putPacked", 6);
  auto* packed = call.pointer<std::uint8_t>();
  const std::int64_t k = call.integer(), row0 = call.integer(), rows = call.integer();
  const Bytes codes = bytesArgument(call, 5), sf = bytesArgument(call, 6);
  const std::size_t codeBytes = static_cast<std::size_t>(rows * k / 2), sfBytes = codeBytes / 8;
  partOf(call, codes, 0, static_cast<std::int64_t>(codeBytes));
  partOf(call, sf, 0, static_cast<std::int64_t>(sfBytes));
  const std::size_t sfAt = (codeBytes + 255) & ~std::size_t{255};
  auto* linear = static_cast<std::uint8_t*>(call.device.scratch(sfAt + sfBytes));
  call.device.upload(linear, codes.data, codeBytes);
  call.device.upload(linear + sfAt, sf.data, sfBytes);
  packRows(call.device.launch(0), linear, linear + sfAt, k, row0, rows, packed);
  call.device.launched("putPacked");
}

// The same the other way; answers what has gone wrong in data.
Napi::Value download(const Napi::CallbackInfo& info) {
  Call call(info, "download", 4);
  const void* from = call.pointer<void>();
  const Bytes all = bytesArgument(call, 2);
  call.skip();
  const std::int64_t at = call.integer(), bytes = call.integer();
  call.device.download(partOf(call, all, at, bytes), from, static_cast<std::size_t>(bytes));
  return failureOf(info, call.device);
}

Napi::Value synchronize(const Napi::CallbackInfo& info) {
  Call call(info, "synchronize", 0);
  call.device.synchronize();
  return failureOf(info, call.device);
}

void beginStep(const Napi::CallbackInfo& info) { Call(info, "planStep", 0).device.beginStep(); }

void copy(const Napi::CallbackInfo& info) {
  Call call(info, "copy", 3);
  void* to = call.pointer<void>();
  const void* from = call.pointer<void>();
  call.device.copy(to, from, static_cast<std::size_t>(call.integer()));
}

Napi::Value memory(const Napi::CallbackInfo& info) {
  Call call(info, "memory", 0);
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("bytes", static_cast<double>(call.device.allocatedBytes()));
  out.Set("allocations", static_cast<double>(call.device.allocations()));
  return out;
}

void lose(const Napi::CallbackInfo& info) { Call(info, "lose", 0).device.lose(); }

}  // namespace

Device& deviceArgument(const NapiArgs& args, std::size_t i) {
  const Napi::Value value(args.env(), args.value(i));
  if (!value.IsExternal() || !value.As<Napi::External<Device>>().CheckTypeTag(&kDeviceTag))
    throw Napi::TypeError::New(args.env(), args.text("device") + " must come from openDevice");
  return *value.As<Napi::External<Device>>().Data();
}

void exportMemory(Napi::Object exports) {
  exportDeviceFunction<machine>(exports, "machine");
  exportDeviceFunction<deviceInfo>(exports, "deviceInfo");
  exportDeviceFunction<openDevice>(exports, "openDevice");
  exportDeviceFunction<closeDevice>(exports, "closeDevice");
  exportDeviceFunction<allocate>(exports, "alloc");
  exportDeviceFunction<release>(exports, "free");
  exportDeviceFunction<upload>(exports, "upload");
  exportDeviceFunction<pin>(exports, "pin");
  exportDeviceFunction<unpin>(exports, "unpin");
  exportDeviceFunction<mark>(exports, "mark");
  exportDeviceFunction<waitFor>(exports, "waitFor");
  if (canReadFiles()) exportDeviceFunction<readInto>(exports, "readFile");
  exportDeviceFunction<putPacked>(exports, "putPacked");
  exportDeviceFunction<download>(exports, "download");
  exportDeviceFunction<copy>(exports, "copy");
  exportDeviceFunction<synchronize>(exports, "synchronize");
  exportDeviceFunction<beginStep>(exports, "beginStep");
  exportDeviceFunction<memory>(exports, "memory");
  exportDeviceFunction<lose>(exports, "lose");
}

}  // namespace megamoe::cuda
