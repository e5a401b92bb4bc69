// Node-API side: unwraps positional arguments (the order of src/engine.ts after table and threads), guards every length
// and index that the kernels would otherwise trust, and runs the operation. TypeScript has validated already and gives
// the better messages; these guards are there so that no call, however wrong, reads or writes outside its arrays.
#include <megamoe/cpu_features.h>
#include <megamoe/napi_args.h>

#include <string>

#include "../dispatch.h"
#include "../ops.h"

namespace {

using megamoe::NapiArgs;

// Raised with every change of the functions' arguments; src/native.ts asks for it.
constexpr int kInterfaceVersion = 1;
constexpr int64_t kMax = 0x7fffffff;

const attention::KernelTable& table(const NapiArgs& a) {
  const auto& tables = attention::usableKernels();
  return *tables[static_cast<size_t>(a.integer(0, "table", 0, static_cast<int64_t>(tables.size()) - 1))];
}

int threads(const NapiArgs& a) { return static_cast<int>(a.integer(1, "threads", 1, 1024)); }

[[noreturn]] void fail(const NapiArgs& a, const char* name, const std::string& what) {
  throw Napi::RangeError::New(a.env(), a.text(name) + " " + what);
}

int64_t ropeDim(const NapiArgs& a, size_t i, int64_t d) {
  const int64_t v = a.integer(i, "ropeDim", 0, d);
  if (v % 2 != 0) fail(a, "ropeDim", "must be even, got " + std::to_string(v));
  return v;
}

int64_t ratioOf(const NapiArgs& a, size_t i) { return a.integer(i, "ratio", 1, attention::kMaxCandidates); }

Napi::Value rope(const Napi::CallbackInfo& info) {
  const NapiArgs a(info, "rope", 10);
  attention::RopeParams p{};
  p.m = a.integer(3, "m", 0, kMax);
  p.heads = a.integer(4, "heads", 1, kMax);
  p.d = a.integer(5, "d", 1, kMax);
  p.ropeDim = ropeDim(a, 6, p.d);
  p.x = a.f32(2, "x", a.product("m*heads*d", p.m, p.heads, p.d));
  p.cos = a.f32(7, "cos", a.product("m*ropeDim/2", p.m, p.ropeDim / 2));
  p.sin = a.f32(8, "sin", a.product("m*ropeDim/2", p.m, p.ropeDim / 2));
  p.inverse = a.boolean(9, "inverse");
  attention::runRope(table(a), p, threads(a));
  return a.env().Undefined();
}

Napi::Value compress(const Napi::CallbackInfo& info) {
  const NapiArgs a(info, "compress", 21);
  attention::CompressParams p{};
  p.row0 = a.integer(4, "row0", 0, kMax);
  p.n = a.integer(5, "n", 0, kMax);
  p.p0 = a.integer(6, "p0", 0, kMax);
  p.ratio = ratioOf(a, 7);
  p.dim = a.integer(8, "dim", 1, kMax);
  p.width = a.integer(9, "width", 1, kMax);
  const bool overlaps = p.width == 2 * p.dim;
  if (!overlaps && p.width != p.dim) fail(a, "width", "must be dim or 2*dim");
  if (overlaps && 2 * p.ratio > attention::kMaxCandidates) fail(a, "ratio", "is too large for overlapping windows");
  p.kv = a.f32(2, "kv", a.product("(row0+n)*width", p.row0 + p.n, p.width));
  p.gate = a.f32(3, "gate", a.product("(row0+n)*width", p.row0 + p.n, p.width));
  p.ape = a.f32(10, "ape", a.product("ratio*width", p.ratio, p.width));
  p.norm = a.f32(11, "norm", p.dim);
  p.rmsNormEps = static_cast<float>(a.number(12, "rmsNormEps"));
  p.ropeDim = ropeDim(a, 13, p.dim);
  const int64_t end = (p.p0 + p.n) / p.ratio;
  const int64_t closed = end - p.p0 / p.ratio;
  p.cos = a.f32(14, "cos", a.product("closed*ropeDim/2", closed, p.ropeDim / 2));
  p.sin = a.f32(15, "sin", a.product("closed*ropeDim/2", closed, p.ropeDim / 2));
  p.entries = a.f32(16, "entries", a.product("entries*dim", end, p.dim));
  const int64_t partial = p.ratio * p.width;
  p.partialKv = a.f32(17, "partialKv", partial);
  p.partialGate = a.f32(18, "partialGate", partial);
  p.overlapKv = a.f32(19, "overlapKv", overlaps ? p.ratio * p.dim : 0);
  p.overlapGate = a.f32(20, "overlapGate", overlaps ? p.ratio * p.dim : 0);
  attention::runCompress(table(a), p, threads(a));
  return a.env().Undefined();
}

Napi::Value indexSelect(const Napi::CallbackInfo& info) {
  const NapiArgs a(info, "indexSelect", 13);
  attention::IndexSelectParams p{};
  p.ratio = ratioOf(a, 3);
  p.dim = a.integer(4, "dim", 1, kMax);
  p.row0 = a.integer(7, "row0", 0, kMax);
  p.n = a.integer(8, "n", 0, kMax);
  p.p0 = a.integer(9, "p0", 0, kMax);
  p.heads = a.integer(10, "heads", 1, kMax);
  p.topk = a.integer(11, "topk", 0, kMax);
  p.entries = a.f32(2, "entries", a.product("entries*dim", (p.p0 + p.n) / p.ratio, p.dim));
  p.q = a.f32(5, "q", a.product("(row0+n)*heads*dim", p.row0 + p.n, p.heads, p.dim));
  p.headWeights = a.f32(6, "headWeights", a.product("(row0+n)*heads", p.row0 + p.n, p.heads));
  p.selected = a.i32(12, "selected", a.product("n*topk", p.n, p.topk));
  attention::runIndexSelect(table(a), p, threads(a));
  return a.env().Undefined();
}

Napi::Value attend(const Napi::CallbackInfo& info) {
  const NapiArgs a(info, "attend", 16);
  attention::AttendParams p{};
  p.ringCap = a.integer(3, "ringCap", 0, kMax);
  p.d = a.integer(5, "d", 1, kMax);
  p.row0 = a.integer(7, "row0", 0, kMax);
  p.n = a.integer(8, "n", 0, kMax);
  p.heads = a.integer(9, "heads", 1, kMax);
  p.keyCap = a.integer(11, "keyCap", 0, kMax);
  p.ring = a.f32(2, "ring", a.product("ringCap*d", p.ringCap, p.d));
  p.entries = a.f32(4, "entries", 0);
  const int64_t keys = p.ringCap + a.length(4, "entries") / p.d;
  p.q = a.f32(6, "q", a.product("(row0+n)*heads*d", p.row0 + p.n, p.heads, p.d));
  p.keyIndex = a.i32(10, "keyIndex", a.product("n*keyCap", p.n, p.keyCap));
  p.keyCount = a.i32(12, "keyCount", p.n);
  p.sinks = a.f32(13, "sinks", p.heads);
  p.softmaxScale = static_cast<float>(a.number(14, "softmaxScale"));
  p.out = a.f32(15, "out", a.product("(row0+n)*heads*d", p.row0 + p.n, p.heads, p.d));
  for (int64_t r = 0; r < p.n; r++) {
    const int64_t count = p.keyCount[r];
    if (count < 0 || count > p.keyCap) fail(a, "keyCount", "must be in [0, keyCap], got " + std::to_string(count));
    for (int64_t j = 0; j < count; j++) {
      const int64_t index = p.keyIndex[r * p.keyCap + j];
      if (index < 0 || index >= keys) fail(a, "keyIndex", "is outside ring and entries: " + std::to_string(index));
    }
  }
  attention::runAttend(table(a), p, threads(a));
  return a.env().Undefined();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  const auto& tables = attention::usableKernels();
  Napi::Array names = Napi::Array::New(env);
  for (size_t i = 0; i < tables.size(); i++) names.Set(static_cast<uint32_t>(i), tables[i]->name);
  Napi::Array features = Napi::Array::New(env);
  uint32_t at = 0;
  for (const std::string& name : megamoe::cpuFeatureNames()) features.Set(at++, name);
  exports.Set("interfaceVersion", kInterfaceVersion);
  exports.Set("isa", tables[0]->name);
  exports.Set("isas", names);
  exports.Set("cpuFeatures", features);
  exports.Set("rope", Napi::Function::New<rope>(env, "rope"));
  exports.Set("compress", Napi::Function::New<compress>(env, "compress"));
  exports.Set("indexSelect", Napi::Function::New<indexSelect>(env, "indexSelect"));
  exports.Set("attend", Napi::Function::New<attend>(env, "attend"));
  return exports;
}

}  // namespace

NODE_API_MODULE(attention, init)
