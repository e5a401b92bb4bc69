// Products: linear, grouped, embedding. Argument order is that of GemmAddon in src/addon.ts.
#include "../kernels/nvfp4/linear.h"
#include "common.h"

namespace megamoe::gemm {

namespace {

void linear(const Napi::CallbackInfo& info) {
  const Call call(info, "linear", 6);
  LinearParams p{};
  const Weight& w = weightArgument(call, info, 2, "w");
  requireDense(call, w, true);
  p.w = &w;
  p.m = call.integer(4, "rows", 0);
  p.x = call.f32(3, "x", call.product("rows", p.m, w.matrices, w.k));
  p.out = call.f32(5, "out", call.product("rows", p.m, w.matrices, w.n), Access::writes);
  call.requireApart();
  call.table.linear(p, call.threads);
}

// w, parts and alpha at 2 to 4, then x, rows and out from place x on.
LinearNvfp4Params nvfp4Arguments(const Call& call, const Napi::CallbackInfo& info, std::size_t x) {
  LinearNvfp4Params p{};
  const Weight& w = weightArgument(call, info, 2, "w");
  requireDense(call, w, false);
  p.w = &w;
  p.parts = call.integer(3, "parts", 1, 2);
  p.alpha = call.f32(4, "alpha", w.matrices * p.parts);
  p.m = call.integer(x + 1, "rows", 0, 0x7fffffff / w.matrices);
  p.x = call.f32(x, "x", call.product("rows", p.m, w.matrices, w.k));
  p.out = call.f32(x + 2, "out", call.product("rows", p.m, w.matrices, w.n), Access::writes);
  call.requireApart();
  return p;
}

void linearNvfp4(const Napi::CallbackInfo& info) {
  const Call call(info, "linearNvfp4", 8);
  nvfp4::linearW4A16(call.table, nvfp4Arguments(call, info, 5), false, call.threads);
}

// parts and alpha are for nvfp4 weights: 1 and null for others.
void linearBf16(const Napi::CallbackInfo& info) {
  const Call call(info, "linearBf16", 8);
  const Weight& w = weightArgument(call, info, 2, "w");
  if (w.format == Format::nvfp4)
    return nvfp4::linearW4A16(call.table, nvfp4Arguments(call, info, 5), true, call.threads);
  LinearBf16Params p{};
  p.w = &w;
  p.m = call.integer(6, "rows", 0);
  p.x = call.f32(5, "x", call.product("rows", p.m, w.matrices, w.k));
  p.out = call.f32(7, "out", call.product("rows", p.m, w.matrices, w.n), Access::writes);
  call.requireApart();
  call.table.linearBf16(p, call.threads);
}

Napi::Value linearW4A4(const Napi::CallbackInfo& info) {
  const Call call(info, "linearW4A4", 9);
  LinearNvfp4Params p = nvfp4Arguments(call, info, 6);
  p.inputScale = static_cast<float>(call.number(5, "inputScale"));
  return Napi::Number::New(info.Env(), static_cast<double>(nvfp4::linearW4A4(call.table, p, call.threads)));
}

// w, parts, expertOffsets, alpha and out, at the given places; returns R.
std::int64_t groupedArguments(const Call& call, const Napi::CallbackInfo& info, GroupedParams* p, std::size_t offsets,
                              std::size_t alpha, std::size_t out) {
  const Weight& w = weightArgument(call, info, 2, "w");
  std::int64_t rows = 0;
  p->w = &w;
  p->parts = call.integer(3, "parts", 1, 2);
  p->expertOffsets = offsetsArgument(call, offsets, w.matrices, &rows);
  p->alpha = call.f32OrNull(alpha, "alpha", w.matrices * p->parts);
  if ((p->alpha != nullptr) != (w.format == Format::nvfp4))
    throw Napi::TypeError::New(info.Env(),
                               call.text("alpha") + " must be a Float32Array for nvfp4 weights and null for others");
  p->out = call.f32(out, "out", call.product("out", rows, w.n), Access::writes);
  return rows;
}

Napi::Value groupedGemmW4A4(const Napi::CallbackInfo& info) {
  const Call call(info, "groupedGemmW4A4", 10);
  GroupedW4A4Params p{};
  const std::int64_t rows = groupedArguments(call, info, &p, 6, 7, 9);
  requireDense(call, *p.w, false);
  const std::int64_t size = call.product("codes", rows, p.w->k);
  p.aCodes = call.u8(4, "codes", size / 2);
  p.aSf = call.u8(5, "sf", size / kBlock);
  p.rowScale = call.f32OrNull(8, "rowScale", rows);
  call.requireApart();
  const std::int64_t bad = findBadScale(p.aSf, size / kBlock);
  if (bad < 0 && rows > 0) call.table.groupedW4A4(p, call.threads);
  return Napi::Number::New(info.Env(), static_cast<double>(bad));
}

void groupedGemm(const Napi::CallbackInfo& info) {
  const Call call(info, "groupedGemm", 8);
  GroupedA16Params p{};
  const std::int64_t rows = groupedArguments(call, info, &p, 5, 6, 7);
  p.a = call.f32(4, "a", call.product("a", rows, p.w->k));
  call.requireApart();
  if (rows == 0) return;
  if (p.w->format == Format::nvfp4)
    call.table.groupedW4A16({p}, call.threads);
  else
    call.table.groupedDense({p}, call.threads);
}

void groupedGemmBf16(const Napi::CallbackInfo& info) {
  const Call call(info, "groupedGemmBf16", 8);
  GroupedA16Params p{};
  const std::int64_t rows = groupedArguments(call, info, &p, 5, 6, 7);
  p.a = call.f32(4, "a", call.product("a", rows, p.w->k));
  call.requireApart();
  if (rows == 0) return;
  if (p.w->format == Format::nvfp4)
    call.table.groupedBf16({p}, call.threads);
  else
    call.table.groupedDenseBf16({p}, call.threads);
}

void embed(const Napi::CallbackInfo& info) {
  const Call call(info, "embed", 7);
  EmbedParams p{};
  const Weight& w = weightArgument(call, info, 2, "w");
  requireDense(call, w, true);
  p.w = &w;
  p.t = call.integer(4, "rows", 0);
  p.repeat = call.integer(5, "repeat", 1);
  p.ids = call.i32(3, "ids", p.t);
  p.out = call.f32(6, "out", call.product("out", p.t, p.repeat, w.k), Access::writes);
  call.requireApart();
  requireIndices(call, "ids", p.ids, p.t, 0, w.n);
  call.table.embed(p, call.threads);
}

}  // namespace

void exportGemm(Napi::Object exports) {
  exportFunction<linear>(exports, "linear");
  exportFunction<linearBf16>(exports, "linearBf16");
  exportFunction<linearNvfp4>(exports, "linearNvfp4");
  exportFunction<linearW4A4>(exports, "linearW4A4");
  exportFunction<groupedGemmW4A4>(exports, "groupedGemmW4A4");
  exportFunction<groupedGemm>(exports, "groupedGemm");
  exportFunction<groupedGemmBf16>(exports, "groupedGemmBf16");
  exportFunction<embed>(exports, "embed");
}

}  // namespace megamoe::gemm
