// adviseHugePages. The other side is src/memory.ts.
#include "../kernels/huge_pages.h"
#include "common.h"

namespace megamoe::gemm {

namespace {

// adviseHugePages(bytes)
void advise(const Napi::CallbackInfo& info) {
  const NapiArgs args(info, "adviseHugePages", 1);
  std::uint8_t* data = args.u8(0, "bytes", 0);
  adviseHugePages(data, info[0].As<Napi::Uint8Array>().ByteLength());
}

}  // namespace

void exportMemory(Napi::Object exports) { exportFunction<advise>(exports, "adviseHugePages"); }

}  // namespace megamoe::gemm
