// swizzle128x4. Argument order is that of SwizzleAddon in src/swizzle.ts.
#include "../swizzle/swizzle.h"

#include "common.h"

namespace megamoe::gemm {

namespace {

// swizzle128x4(threads, sf, rows, kSf, out)
void swizzle(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "swizzle128x4", 5);
  const int threads = threadsArgument(args, 0);
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  const std::int64_t rows = args.integer(2, "rows", 0, kMost), kSf = args.integer(3, "kSf", 0, kMost);
  args.product("size", rows + kTileRows, kSf + kTileColumns, 1);
  const std::uint8_t* sf = args.u8(1, "sf", rows * kSf);
  std::uint8_t* out = args.u8(4, "out", swizzledBytes(rows, kSf), Access::writes);
  args.requireApart();
  swizzle128x4(sf, rows, kSf, out, threads);
}

}  // namespace

void exportSwizzle(Napi::Object exports) { exportFunction<swizzle>(exports, "swizzle128x4"); }

}  // namespace megamoe::gemm
