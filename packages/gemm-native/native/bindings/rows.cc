// Row-wise operations and hyper-connections. Argument order is that of the list of operations
// (packages/ops/src/table.ts) or, for the stagings, of GemmAddon in src/addon.ts.
#include "common.h"

#include "../kernels/nvfp4/loss.h"

namespace megamoe::gemm {

namespace {

void gatherRows(const Napi::CallbackInfo& info) {
  const Call call(info, "gatherRows", 7);
  GatherParams p{};
  p.d = call.integer(3, "d", 1);
  p.rows = call.integer(5, "rows", 0);
  p.x = call.f32(2, "x", kWhole);
  p.slotToken = call.i32(4, "index", p.rows);
  p.out = call.f32(6, "out", call.product("out", p.rows, p.d), Access::writes);
  call.requireApart();
  requireIndices(call, "index", p.slotToken, p.rows, 0, call.length(2, "x") / p.d);
  call.table.gatherRows(p, call.threads);
}

// x, k and slotToken, which both stage functions have at 2, 3 and 4, for `rows` rows; codes and sf at the given places.
void stageArguments(const Call& call, StageParams* p, std::size_t codes, std::size_t sf) {
  if (p->k % kBlock != 0) throw Napi::RangeError::New(call.env(), call.text("k") + " must be a multiple of 16");
  const std::int64_t size = call.product("k", p->rows, p->k);
  p->slotToken = call.i32OrNull(4, "slotToken", p->rows);
  p->x = call.f32(2, "x", p->slotToken == nullptr ? size : kWhole);
  if (p->slotToken != nullptr) requireIndices(call, "slotToken", p->slotToken, p->rows, 0, call.length(2, "x") / p->k);
  p->codes = call.u8(codes, "codes", size / 2, Access::writes);
  p->sf = call.u8(sf, "sf", size / kBlock, Access::writes);
}

Napi::Value stageNvfp4(const Napi::CallbackInfo& info) {
  const Call call(info, "stageNvfp4", 9);
  StageParams p{};
  p.k = call.integer(3, "k", kBlock);
  p.experts = call.length(5, "expertOffsets");
  p.expertOffsets = offsetsArgument(call, 5, p.experts, &p.rows);
  p.globalDecodeScale = call.f32(6, "globalDecodeScale", p.experts);
  stageArguments(call, &p, 7, 8);
  call.requireApart();
  return Napi::Number::New(info.Env(), static_cast<double>(call.table.stage(p, call.threads)));
}

void nvfp4LossRows(const Napi::CallbackInfo& info) {
  const Call call(info, "nvfp4Loss", 9);
  LossParams p{};
  p.m = call.integer(3, "rows", 0);
  p.k = call.integer(4, "k", kBlock);
  if (p.k % kBlock != 0) throw Napi::RangeError::New(call.env(), call.text("k") + " must be a multiple of 16");
  const std::int64_t size = call.product("k", p.m, p.k);
  p.x = call.f32(2, "x", size);
  p.globalDecodeScale = static_cast<float>(call.number(5, "globalDecodeScale"));
  p.codes = call.u8(6, "codes", size / 2);
  p.sf = call.u8(7, "sf", size / kBlock);
  p.sums = call.f64(8, "sums", 3 * p.m, Access::writes);
  call.requireApart();
  nvfp4Loss(p, call.threads);
}

Napi::Value stageNvfp4Dynamic(const Napi::CallbackInfo& info) {
  const Call call(info, "stageNvfp4Dynamic", 9);
  StageParams p{};
  p.k = call.integer(3, "k", kBlock);
  p.rows = call.integer(5, "rows", 0);
  stageArguments(call, &p, 6, 7);
  p.rowScale = call.f32(8, "rowScale", p.rows, Access::writes);
  call.requireApart();
  if (p.rows == 0) return Napi::Number::New(info.Env(), -1);
  return Napi::Number::New(info.Env(), static_cast<double>(call.table.stage(p, call.threads)));
}

// gateUp [R, 2*i] at 2, i at 3 and limit at 4, which both fused functions have, for `rows` rows; codes and sf at the
// given places.
void swigluStageArguments(const Call& call, StageParams* p, std::size_t codes, std::size_t sf) {
  if (p->k % kBlock != 0) throw Napi::RangeError::New(call.env(), call.text("i") + " must be a multiple of 16");
  const std::int64_t size = call.product("i", p->rows, p->k, 2) / 2;
  p->x = call.f32(2, "gateUp", 2 * size);
  const double limit = call.number(4, "limit");
  if (!(limit > 0) || !(static_cast<float>(limit) > 0))
    throw Napi::RangeError::New(call.env(), call.text("limit") + " must be above 0");
  p->swigluLimit = static_cast<float>(limit);
  p->codes = call.u8(codes, "codes", size / 2, Access::writes);
  p->sf = call.u8(sf, "sf", size / kBlock, Access::writes);
}

Napi::Value swigluStageNvfp4(const Napi::CallbackInfo& info) {
  const Call call(info, "swigluStageNvfp4", 9);
  StageParams p{};
  p.k = call.integer(3, "i", kBlock);
  p.experts = call.length(5, "expertOffsets");
  p.expertOffsets = offsetsArgument(call, 5, p.experts, &p.rows);
  p.globalDecodeScale = call.f32(6, "globalDecodeScale", p.experts);
  swigluStageArguments(call, &p, 7, 8);
  call.requireApart();
  return Napi::Number::New(info.Env(), static_cast<double>(call.table.stage(p, call.threads)));
}

Napi::Value swigluStageNvfp4Dynamic(const Napi::CallbackInfo& info) {
  const Call call(info, "swigluStageNvfp4Dynamic", 9);
  StageParams p{};
  p.k = call.integer(3, "i", kBlock);
  p.rows = call.integer(5, "rows", 0);
  swigluStageArguments(call, &p, 6, 7);
  p.rowScale = call.f32(8, "rowScale", p.rows, Access::writes);
  call.requireApart();
  if (p.rows == 0) return Napi::Number::New(info.Env(), -1);
  return Napi::Number::New(info.Env(), static_cast<double>(call.table.stage(p, call.threads)));
}

void swiglu(const Napi::CallbackInfo& info) {
  const Call call(info, "swiglu", 7);
  SwigluParams p{};
  p.m = call.integer(3, "rows", 0);
  p.i = call.integer(4, "i", 1);
  p.gateUp = call.f32(2, "gateUp", call.product("rows", p.m, p.i, 2));
  p.limit = static_cast<float>(call.number(5, "limit"));
  p.out = call.f32(6, "out", call.product("rows", p.m, p.i), Access::writes);
  call.requireApart();
  call.table.swiglu(p, call.threads);
}

void scatterExperts(const Napi::CallbackInfo& info) {
  const Call call(info, "scatterExperts", 9);
  ScatterParams p{};
  p.d = call.integer(3, "d", 1);
  p.t = call.integer(6, "rows", 0);
  p.topk = call.integer(7, "topk", 1);
  const std::int64_t slots = call.product("rows", p.t, p.topk);
  p.y = call.f32(2, "y", kWhole);
  p.tokenSlots = call.i32(4, "tokenSlots", slots);
  p.topkWeights = call.f32(5, "topkWeights", slots);
  p.out = call.f32(8, "out", call.product("out", p.t, p.d), Access::writes);
  call.requireApart();
  requireIndices(call, "tokenSlots", p.tokenSlots, slots, -1, call.length(2, "y") / p.d);
  call.table.scatterExperts(p, call.threads);
}

void add(const Napi::CallbackInfo& info) {
  const Call call(info, "add", 5);
  AddParams p{};
  p.n = call.integer(4, "n", 0);
  p.out = call.f32(2, "out", p.n, Access::writes);
  p.x = call.f32(3, "x", p.n);
  call.requireApart();
  call.table.addInPlace(p, call.threads);
}

void rmsNorm(const Napi::CallbackInfo& info) {
  const Call call(info, "rmsNorm", 8);
  RmsNormParams p{};
  p.m = call.integer(3, "rows", 0);
  p.d = call.integer(4, "d", 1);
  const std::int64_t size = call.product("rows", p.m, p.d);
  p.x = call.f32(2, "x", size);
  p.weight = call.f32OrNull(5, "weight", p.d);
  p.eps = call.number(6, "eps");
  p.out = call.f32(7, "out", size, Access::writes);
  call.requireApart("x");
  call.table.rmsNorm(p, call.threads);
}

// streams, rows, hc, d at 2..5, then fn, base, gain, rmsNormEps, hcEps.
void hyperArguments(const Call& call, HyperParams* p, std::int64_t scales) {
  p->t = call.integer(3, "rows", 0);
  p->hc = call.integer(4, "hc", 1, kMaxHc);
  p->d = call.integer(5, "d", 1);
  const std::int64_t mixes = scales == 1 ? p->hc : (2 + p->hc) * p->hc;
  p->streams = call.f32(2, "streams", call.product("rows", p->t, p->hc, p->d));
  p->fn = call.f32(6, "fn", call.product("d", mixes, p->hc, p->d));
  p->base = call.f32(7, "base", mixes);
  p->scale = call.f32(8, "gain", scales);
  p->rmsNormEps = call.number(9, "rmsNormEps");
  p->hcEps = call.number(10, "hcEps");
}

void hcPre(const Napi::CallbackInfo& info) {
  const Call call(info, "hcPre", 15);
  HcPreParams p{};
  hyperArguments(call, &p, 3);
  p.iters = static_cast<int>(call.integer(11, "iters", 1, 10000));
  p.post = call.f32(12, "post", p.t * p.hc, Access::writes);
  p.comb = call.f32(13, "comb", p.t * p.hc * p.hc, Access::writes);
  p.collapsed = call.f32(14, "collapsed", call.product("rows", p.t, p.d), Access::writes);
  call.requireApart();
  call.table.hcPre(p, call.threads);
}

void hcPost(const Napi::CallbackInfo& info) {
  const Call call(info, "hcPost", 9);
  HcPostParams p{};
  p.t = call.integer(4, "rows", 0);
  p.hc = call.integer(5, "hc", 1, kMaxHc);
  p.d = call.integer(6, "d", 1);
  p.streams = call.f32(2, "streams", call.product("rows", p.t, p.hc, p.d), Access::writes);
  p.blockOut = call.f32(3, "blockOut", call.product("rows", p.t, p.d));
  p.post = call.f32(7, "post", p.t * p.hc);
  p.comb = call.f32(8, "comb", p.t * p.hc * p.hc);
  call.requireApart();
  call.table.hcPost(p, call.threads);
}

void hcHead(const Napi::CallbackInfo& info) {
  const Call call(info, "hcHead", 12);
  HcHeadParams p{};
  hyperArguments(call, &p, 1);
  p.out = call.f32(11, "out", call.product("rows", p.t, p.d), Access::writes);
  call.requireApart();
  call.table.hcHead(p, call.threads);
}

}  // namespace

void exportRows(Napi::Object exports) {
  exportFunction<gatherRows>(exports, "gatherRows");
  exportFunction<stageNvfp4>(exports, "stageNvfp4");
  exportFunction<nvfp4LossRows>(exports, "nvfp4Loss");
  exportFunction<stageNvfp4Dynamic>(exports, "stageNvfp4Dynamic");
  exportFunction<swiglu>(exports, "swiglu");
  exportFunction<swigluStageNvfp4>(exports, "swigluStageNvfp4");
  exportFunction<swigluStageNvfp4Dynamic>(exports, "swigluStageNvfp4Dynamic");
  exportFunction<scatterExperts>(exports, "scatterExperts");
  exportFunction<add>(exports, "add");
  exportFunction<rmsNorm>(exports, "rmsNorm");
  exportFunction<hcPre>(exports, "hcPre");
  exportFunction<hcPost>(exports, "hcPost");
  exportFunction<hcHead>(exports, "hcHead");
}

}  // namespace megamoe::gemm
