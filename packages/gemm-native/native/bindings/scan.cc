// Scans of logits. Argument order is that of GemmAddon in src/addon.ts.
#include <algorithm>
#include <cstring>

#include "common.h"

namespace megamoe::gemm {

namespace {

// name(isa, x, n, ...): the kernels and the logits, of those that look at all from the first on.
class Scan : public NapiArgs {
 public:
  Scan(const Napi::CallbackInfo& info, const char* name, std::size_t count)
      : NapiArgs(info, name, count),
        kernels(tableArgument(*this, 0, availableTables()).scan),
        n(integer(2, "n", 1, 0x7fffffff)),
        x(f32(1, "x", n)) {}

  const ScanKernels& kernels;
  const std::int64_t n;
  const float* const x;
};

Napi::Value scanFirstNonFinite(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "scanFirstNonFinite", 4);
  const ScanKernels& kernels = tableArgument(args, 0, availableTables()).scan;
  const std::int64_t end = args.integer(3, "end", 0, 0x7fffffff), begin = args.integer(2, "begin", 0, end);
  const float* const x = args.f32(1, "x", end);
  return Napi::Number::New(info.Env(), static_cast<double>(kernels.firstNonFinite(x, begin, end)));
}

Napi::Value scanArgmax(const Napi::CallbackInfo& info) {
  const Scan scan(info, "scanArgmax", 3);
  return Napi::Number::New(info.Env(), static_cast<double>(scan.kernels.argmax(scan.x, scan.n)));
}

Napi::Value scanTop(const Napi::CallbackInfo& info) {
  const Scan scan(info, "scanTop", 7);
  const std::int64_t k = scan.integer(3, "k", 1, scan.n),
                     capacity = std::min(scan.length(5, "ids"), scan.length(6, "values"));
  const float temperature = static_cast<float>(scan.number(4, "temperature"));
  std::int32_t* const ids = scan.i32(5, "ids", capacity, Access::writes);
  float* const values = scan.f32(6, "values", capacity, Access::writes);
  scan.requireApart();
  return Napi::Number::New(
      info.Env(), static_cast<double>(scan.kernels.top(scan.x, scan.n, k, temperature, capacity, ids, values)));
}

Napi::Value scanAtLeast(const Napi::CallbackInfo& info) {
  const Scan scan(info, "scanAtLeast", 6);
  const float floor = static_cast<float>(scan.number(3, "floor"));
  const std::int64_t capacity = std::min(scan.length(4, "ids"), scan.length(5, "values"));
  std::int32_t* const ids = scan.i32(4, "ids", capacity, Access::writes);
  float* const values = scan.f32(5, "values", capacity, Access::writes);
  scan.requireApart();
  return Napi::Number::New(info.Env(),
                           static_cast<double>(scan.kernels.atLeast(scan.x, scan.n, floor, capacity, ids, values)));
}

Napi::Value scanMayWin(const Napi::CallbackInfo& info) {
  const Scan scan(info, "scanMayWin", 7);
  const float temperature = static_cast<float>(scan.number(3, "temperature"));
  const std::int32_t* const words = scan.i32(4, "draw", 4);
  const std::int64_t capacity = std::min(scan.length(5, "ids"), scan.length(6, "values"));
  std::int32_t* const ids = scan.i32(5, "ids", capacity, Access::writes);
  float* const values = scan.f32(6, "values", capacity, Access::writes);
  scan.requireApart();
  Draw draw;
  std::memcpy(&draw, words, sizeof draw);
  const std::int64_t count = scan.kernels.mayWin(scan.x, scan.n, temperature, draw, capacity, ids, values);
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

Napi::Value scanMassBefore(const Napi::CallbackInfo& info) {
  const Scan scan(info, "scanMassBefore", 5);
  const float temperature = static_cast<float>(scan.number(3, "temperature"));
  const std::int64_t id = scan.integer(4, "id", 0, scan.n - 1);
  return Napi::Number::New(info.Env(), scan.kernels.massBefore(scan.x, scan.n, temperature, id));
}

}  // namespace

void exportScan(Napi::Object exports) {
  exportFunction<scanFirstNonFinite>(exports, "scanFirstNonFinite");
  exportFunction<scanArgmax>(exports, "scanArgmax");
  exportFunction<scanTop>(exports, "scanTop");
  exportFunction<scanAtLeast>(exports, "scanAtLeast");
  exportFunction<scanMayWin>(exports, "scanMayWin");
  exportFunction<scanMassBefore>(exports, "scanMassBefore");
}

}  // namespace megamoe::gemm
