// Operations on rows. Each takes the device, its number in the list, and then its arguments in the order of the list:
// weights as `format, matrices, n, k, data, scales`.
#include "../kernels/rows.h"

#include "../kernels/hyper.h"
#include "../kernels/linear.h"
#include "../kernels/stage.h"
#include "../kernels/w4a4.h"
#include "call.h"
#include "weight.h"

namespace megamoe::cuda {

namespace {

void embedOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "embed", kWeightArguments + 4);
  const Weight table = weightArgument(c);
  const auto* ids = c.pointer<const std::int32_t>();
  const std::int64_t rows = c.integer(), repeat = c.integer();
  embed(c.launch, table, ids, rows, repeat, c.pointer<float>());
  c.done();
}

void rmsNormOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "rmsNorm", 6);
  const auto* x = c.pointer<const float>();
  const std::int64_t rows = c.integer(), d = c.integer();
  const auto* weight = c.pointer<const float>();
  const double eps = c.number();
  rmsNorm(c.launch, x, rows, d, weight, eps, c.pointer<float>());
  c.done();
}

// After the weight: x, rows, inputs as BF16, alpha, parts, out.
void linearOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "linear", kWeightArguments + 6);
  const Weight w = weightArgument(c);
  const auto* x = c.pointer<const float>();
  const std::int64_t rows = c.integer();
  const bool rounded = c.flag();
  const auto* alpha = c.pointer<const float>();
  const std::int64_t parts = c.integer();
  linear(c.launch, w, x, rows, rounded, alpha, parts, c.pointer<float>());
  c.done();
}

void swigluOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "swiglu", 5);
  const auto* gateUp = c.pointer<const float>();
  const std::int64_t rows = c.integer(), i = c.integer();
  const float limit = c.real();
  swiglu(c.launch, gateUp, rows, i, limit, c.pointer<float>());
  c.done();
}

void addOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "add", 3);
  auto* out = c.pointer<float>();
  const auto* x = c.pointer<const float>();
  add(c.launch, out, x, c.integer());
  c.done();
}

// x, rows of x, d, index, rows, out.
void gatherRowsOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "gatherRows", 6);
  const auto* x = c.pointer<const float>();
  const std::int64_t below = c.integer(), d = c.integer();
  const auto* index = c.pointer<const std::int32_t>();
  const std::int64_t rows = c.integer();
  gatherRows(c.launch, x, below, d, index, rows, c.pointer<float>());
  c.done();
}

HyperInput hyperArgument(OpCall& c) {
  HyperInput in = {};
  in.streams = c.pointer<const float>();
  in.rows = c.integer(), in.hc = c.integer(), in.d = c.integer();
  in.fn = c.pointer<const float>(), in.base = c.pointer<const float>(), in.gain = c.pointer<const float>();
  in.rmsNormEps = c.number(), in.hcEps = c.number();
  return in;
}

double* mixScratch(OpCall& c, const HyperInput& in, std::int64_t mixes) {
  return static_cast<double*>(c.device.scratch(static_cast<std::size_t>(hyperScratchBytes(in.rows, mixes))));
}

void hcPreOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "hcPre", 13);
  const HyperInput in = hyperArgument(c);
  const int iters = static_cast<int>(c.integer());
  auto* post = c.pointer<float>();
  auto* comb = c.pointer<float>();
  hcPre(c.launch, in, iters, mixScratch(c, in, (2 + in.hc) * in.hc), post, comb, c.pointer<float>());
  c.done();
}

void hcPostOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "hcPost", 7);
  auto* streams = c.pointer<float>();
  const auto* blockOut = c.pointer<const float>();
  const std::int64_t rows = c.integer(), hc = c.integer(), d = c.integer();
  const auto* post = c.pointer<const float>();
  hcPost(c.launch, streams, blockOut, rows, hc, d, post, c.pointer<const float>());
  c.done();
}

void hcHeadOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "hcHead", 10);
  const HyperInput in = hyperArgument(c);
  hcHead(c.launch, in, mixScratch(c, in, in.hc), c.pointer<float>());
  c.done();
}

}  // namespace

Weight weightArgument(Call& c) {
  Weight w = {};
  w.format = static_cast<Format>(c.integer());
  w.matrices = c.integer(), w.n = c.integer(), w.k = c.integer();
  w.data = c.pointer<const void>(), w.scales = c.pointer<const void>();
  return w;
}

void exportRows(Napi::Object exports) {
  exportDeviceFunction<embedOp>(exports, "embed");
  exportDeviceFunction<rmsNormOp>(exports, "rmsNorm");
  exportDeviceFunction<linearOp>(exports, "linear");
  exportDeviceFunction<swigluOp>(exports, "swiglu");
  exportDeviceFunction<addOp>(exports, "add");
  exportDeviceFunction<gatherRowsOp>(exports, "gatherRows");
  exportDeviceFunction<hcPreOp>(exports, "hcPre");
  exportDeviceFunction<hcPostOp>(exports, "hcPost");
  exportDeviceFunction<hcHeadOp>(exports, "hcHead");
}

}  // namespace megamoe::cuda
