#include "common.h"

namespace megamoe::gemm {

constexpr int kInterfaceVersion = 11;  // INTERFACE_VERSION in src/binding.ts

void requireDense(const NapiArgs& args, const Weight& w, bool dense) {
  if ((w.format != Format::nvfp4) != dense)
    throw Napi::TypeError::New(args.env(), args.text("w") + " has the wrong format");
}

const std::int32_t* offsetsArgument(const NapiArgs& args, std::size_t i, std::int64_t experts, std::int64_t* rows) {
  const std::int32_t* offsets = args.i32(i, "expertOffsets", experts);
  std::int64_t last = 0;
  for (std::int64_t e = 0; e < experts; e++) {
    if (offsets[e] < last)
      throw Napi::RangeError::New(args.env(), args.text("expertOffsets") + " must be cumulative ends");
    last = offsets[e];
  }
  *rows = last;
  return offsets;
}

void requireIndices(const NapiArgs& args, const char* name, const std::int32_t* v, std::int64_t n, std::int64_t min,
                    std::int64_t below) {
  for (std::int64_t i = 0; i < n; i++)
    if (v[i] < min || v[i] >= below)
      throw Napi::RangeError::New(args.env(), args.text(name) + " holds " + std::to_string(v[i]) + " at index " +
                                                  std::to_string(i) + ", outside its range");
}

static Napi::Object init(Napi::Env, Napi::Object exports) {
  if (!exportTables(exports, kInterfaceVersion, availableTables)) return exports;
  exportWeights(exports);
  exportGemm(exports);
  exportRows(exports);
  exportScan(exports);
  exportCeilings(exports);
  exportSwizzle(exports);
  exportMemory(exports);
  return exports;
}

NODE_API_MODULE(gemm_native, init)

}  // namespace megamoe::gemm
