// measureCeiling: the machine's limits. Argument order is that of CeilingAddon in src/ceilings.ts.
#include "../ceilings/ceilings.h"

#include "common.h"

namespace megamoe::gemm {

namespace {

Napi::Value measureCeiling(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "measureCeiling", 4);
  const auto kind = static_cast<ceilings::Kind>(args.integer(0, "kind", 0, ceilings::kKinds - 1));
  const int threads = threadsArgument(args, 1);
  const std::int64_t amount = args.integer(2, "amount", 1, std::int64_t{1} << 40);
  const std::int64_t span = args.integer(3, "span", 1, ceilings::kMaxSpan);
  return Napi::Number::New(info.Env(), ceilings::measure(kind, threads, amount, span));
}

}  // namespace

void exportCeilings(Napi::Object exports) { exportFunction<measureCeiling>(exports, "measureCeiling"); }

}  // namespace megamoe::gemm
