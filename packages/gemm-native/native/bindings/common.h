// What the bindings share: the leading (isa, threads) arguments, weights as JavaScript objects, checks of index arrays.
//
// TypeScript validates arguments with better messages; these checks are the second line, so that no call can crash the
// process.
#pragma once

#include <megamoe/napi_kernels.h>

#include "../kernels/dispatch.h"

namespace megamoe::gemm {

// A call `name(isa, threads, ...)`.
class Call : public KernelCall<KernelTable> {
 public:
  Call(const Napi::CallbackInfo& info, const char* name, std::size_t count)
      : KernelCall(info, name, count, availableTables()) {}
};

// The weight in argument i; throws TypeError unless createWeight made it.
Weight& weightArgument(const NapiArgs& args, const Napi::CallbackInfo& info, std::size_t i, const char* name);

// Throws unless w has one of the dense formats (dense = true) or nvfp4 (false).
void requireDense(const NapiArgs& args, const Weight& w, bool dense);

// Argument i as [experts] cumulative ends; returns them and sets rows to the last.
const std::int32_t* offsetsArgument(const NapiArgs& args, std::size_t i, std::int64_t experts, std::int64_t* rows);

// Throws unless the first n values lie in [min, below).
void requireIndices(const NapiArgs& args, const char* name, const std::int32_t* v, std::int64_t n, std::int64_t min,
                    std::int64_t below);

// Register the functions of each file.
void exportWeights(Napi::Object exports);
void exportGemm(Napi::Object exports);
void exportRows(Napi::Object exports);
void exportScan(Napi::Object exports);
void exportCeilings(Napi::Object exports);
void exportSwizzle(Napi::Object exports);
void exportMemory(Napi::Object exports);

}  // namespace megamoe::gemm
