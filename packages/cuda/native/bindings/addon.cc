#include "call.h"

#ifndef MEGAMOE_CUDA_ARCHITECTURES
#error "CMakeLists.txt says what it compiles for"
#endif

namespace megamoe::cuda {

constexpr int kInterfaceVersion = 2;  // INTERFACE_VERSION in src/binding.ts

void throwFailure(const Napi::CallbackInfo& info, const Failure& failure) {
  Napi::Error error = Napi::Error::New(info.Env(), failure.what());
  error.Set("cudaError", Napi::String::New(info.Env(), cudaGetErrorName(failure.code)));
  error.Set("isLost", Napi::Boolean::New(info.Env(), failure.isLost));
  throw error;
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("interfaceVersion", kInterfaceVersion);
  exports.Set("isa", MEGAMOE_CUDA_ARCHITECTURES);
  exports.Set("cpuFeatures", Napi::Array::New(env, 0));
  exportMemory(exports);
  exportRows(exports);
  exportExperts(exports);
  exportAttention(exports);
  exportLimits(exports);
  return exports;
}

NODE_API_MODULE(cuda, init)

}  // namespace megamoe::cuda
