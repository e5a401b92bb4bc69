// Node-API side: unwraps positional arguments (the order of src/native.ts after table and threads), guards every length
// and index that the kernels would otherwise trust, and runs the operation. TypeScript has validated already and gives
// the better messages; these guards are there so that no call, however wrong, reads or writes outside its arrays.
#include <megamoe/cpu_features.h>
#include <megamoe/napi_args.h>

#include <algorithm>
#include <string>

#include "../dispatch.h"
#include "../ops.h"

namespace {

using megamoe::Access;
using megamoe::kWhole;
using megamoe::NapiArgs;

// Raised with every change of the functions' arguments; src/native.ts asks for it.
constexpr int kInterfaceVersion = 2;
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

// Throws unless every value lies in [min, below).
void checkIndices(const NapiArgs& a, const char* name, const int32_t* v, int64_t n, int64_t min, int64_t below) {
  for (int64_t i = 0; i < n; i++) {
    if (v[i] < min || v[i] >= below)
      fail(a, name,
           "must hold values in [" + std::to_string(min) + ", " + std::to_string(below) + "), got " +
               std::to_string(v[i]));
  }
}

// Memory of rows `width` wide that a call writes some rows of: all of it counts.
struct Memory {
  float* data;
  int64_t rows;
};

Memory written(const NapiArgs& a, size_t i, const char* name, int64_t width) {
  return {a.f32(i, name, kWhole, Access::writes), a.length(i, name) / width};
}

Napi::Value rope(const Napi::CallbackInfo& info) {
  const NapiArgs a(info, "rope", 10);
  attention::RopeParams p{};
  p.rows = a.integer(3, "rows", 0, kMax);
  p.heads = a.integer(4, "heads", 1, kMax);
  p.d = a.integer(5, "d", 1, kMax);
  p.ropeDim = ropeDim(a, 6, p.d);
  p.x = a.f32(2, "x", a.product("rows*heads*d", p.rows, p.heads, p.d), Access::writes);
  p.cos = a.f32(7, "cos", a.product("rows*ropeDim/2", p.rows, p.ropeDim / 2));
  p.sin = a.f32(8, "sin", a.product("rows*ropeDim/2", p.rows, p.ropeDim / 2));
  p.inverse = a.boolean(9, "inverse");
  a.requireApart();
  attention::runRope(table(a), p, threads(a));
  return a.env().Undefined();
}

Napi::Value writeWindow(const Napi::CallbackInfo& info) {
  const NapiArgs a(info, "writeWindow", 7);
  attention::WriteWindowParams p{};
  p.rows = a.integer(3, "rows", 0, kMax);
  p.d = a.integer(4, "d", 1, kMax);
  p.kv = a.f32(2, "kv", a.product("rows*d", p.rows, p.d));
  p.to = a.i32(5, "to", p.rows);
  const Memory window = written(a, 6, "window", p.d);
  p.window = window.data;
  a.requireApart();
  checkIndices(a, "to", p.to, p.rows, 0, window.rows);
  attention::runWriteWindow(table(a), p, threads(a));
  return a.env().Undefined();
}

Napi::Value compress(const Napi::CallbackInfo& info) {
  const NapiArgs a(info, "compress", 22);
  attention::CompressParams p{};
  p.rows = a.integer(4, "rows", 0, kMax);
  p.width = a.integer(5, "width", 1, kMax);
  p.kv = a.f32(2, "kv", a.product("rows*width", p.rows, p.width));
  p.gate = a.f32(3, "gate", a.product("rows*width", p.rows, p.width));
  p.ape = a.f32(6, "ape", kWhole);
  p.apeRow = a.i32(7, "apeRow", p.rows);
  p.openRow = a.i32(8, "openRow", p.rows);
  const Memory openKv = written(a, 9, "openKv", p.width), openGate = written(a, 10, "openGate", p.width);
  p.openKv = openKv.data;
  p.openGate = openGate.data;
  p.closed = a.integer(11, "closed", 0, kMax);
  p.candidatesPerEntry = a.integer(12, "candidatesPerEntry", 1, attention::kMaxCandidates);
  const int64_t candidates = a.product("closed*candidatesPerEntry", p.closed, p.candidatesPerEntry);
  p.candidates = a.i32(13, "candidates", candidates);
  p.dim = a.integer(14, "dim", 1, kMax);
  if (p.width != p.dim && p.width != 2 * p.dim) fail(a, "width", "must be dim or 2*dim");
  p.norm = a.f32(15, "norm", p.dim);
  p.rmsNormEps = static_cast<float>(a.number(16, "rmsNormEps"));
  p.ropeDim = ropeDim(a, 17, p.dim);
  p.cos = a.f32(18, "cos", a.product("closed*ropeDim/2", p.closed, p.ropeDim / 2));
  p.sin = a.f32(19, "sin", a.product("closed*ropeDim/2", p.closed, p.ropeDim / 2));
  p.entryRow = a.i32(20, "entryRow", p.closed);
  const Memory entries = written(a, 21, "entries", p.dim);
  p.entries = entries.data;
  a.requireApart();
  const int64_t openRows = std::min(openKv.rows, openGate.rows);
  checkIndices(a, "apeRow", p.apeRow, p.rows, 0, a.length(6, "ape") / p.width);
  checkIndices(a, "openRow", p.openRow, p.rows, 0, openRows);
  checkIndices(a, "candidates", p.candidates, candidates, -1, openRows);
  checkIndices(a, "entryRow", p.entryRow, p.closed, 0, entries.rows);
  attention::runCompress(table(a), p, threads(a));
  return a.env().Undefined();
}

// Throws unless the pages of every row's entries are listed and there.
void checkPages(const NapiArgs& a, const attention::IndexSelectParams& p, int64_t ids, int64_t pages) {
  int64_t base = -1, checked = 0;  // rows of a sequence stand together and have one base
  for (int64_t r = 0; r < p.rows; r++) {
    const int64_t visible = p.visible[r];
    if (visible < 0) fail(a, "visible", "must be at least 0, got " + std::to_string(visible));
    if (p.pageBase[r] != base) {
      base = p.pageBase[r];
      checked = 0;
    }
    const int64_t used = (visible + p.pageRows - 1) / p.pageRows;
    if (base < 0 || base + used > ids) fail(a, "pageBase", "is outside pageIds: " + std::to_string(base));
    checkIndices(a, "pageIds", p.pageIds + base + checked, used - checked, 0, pages);
    checked = std::max(checked, used);
  }
}

Napi::Value indexSelect(const Napi::CallbackInfo& info) {
  const NapiArgs a(info, "indexSelect", 14);
  attention::IndexSelectParams p{};
  p.rows = a.integer(4, "rows", 0, kMax);
  p.heads = a.integer(5, "heads", 1, kMax);
  p.dim = a.integer(6, "dim", 1, kMax);
  p.topk = a.integer(7, "topk", 0, kMax);
  p.q = a.f32(2, "q", a.product("rows*heads*dim", p.rows, p.heads, p.dim));
  p.headWeights = a.f32(3, "headWeights", a.product("rows*heads", p.rows, p.heads));
  p.visible = a.i32(8, "visible", p.rows);
  p.pageBase = a.i32(9, "pageBase", p.rows);
  const int64_t ids = a.length(10, "pageIds");
  p.pageIds = a.i32(10, "pageIds", kWhole);
  p.pageRows = a.integer(11, "pageRows", 1, kMax);
  p.entries = a.f32(12, "entries", kWhole);
  const int64_t selected = a.product("rows*topk", p.rows, p.topk);
  p.selected = a.i32(13, "selected", selected, Access::writes);
  a.requireApart();
  checkPages(a, p, ids, a.length(12, "entries") / p.dim / p.pageRows);
  attention::runIndexSelect(table(a), p, threads(a));
  return a.env().Undefined();
}

// The lists of arguments i to i + 2: index, start, count.
attention::RowLists rowLists(const NapiArgs& a, size_t i, const char* name, int64_t rows) {
  return {a.i32(i, name, kWhole), a.i32(i + 1, name, rows), a.i32(i + 2, name, rows)};
}

// Throws unless every list lies in its `length` values, which all name rows below `below`.
void checkLists(const NapiArgs& a, const char* name, const attention::RowLists& lists, int64_t rows, int64_t length,
                int64_t below) {
  int64_t first = length, end = 0;
  for (int64_t r = 0; r < rows; r++) {
    const int64_t start = lists.start[r], count = lists.count[r];
    if (start < 0 || count < 0 || start + count > length)
      fail(a, name, "has a list outside its index, at row " + std::to_string(r));
    first = std::min(first, start);
    end = std::max(end, start + count);
  }
  if (first < end) checkIndices(a, name, lists.index + first, end - first, 0, below);
}

Napi::Value attend(const Napi::CallbackInfo& info) {
  const NapiArgs a(info, "attend", 17);
  attention::AttendParams p{};
  p.rows = a.integer(3, "rows", 0, kMax);
  p.heads = a.integer(4, "heads", 1, kMax);
  p.d = a.integer(5, "d", 1, kMax);
  const int64_t size = a.product("rows*heads*d", p.rows, p.heads, p.d);
  p.q = a.f32(2, "q", size);
  p.window = a.f32(6, "window", kWhole);
  p.near = rowLists(a, 7, "near", p.rows);
  p.entries = a.f32(10, "entries", kWhole);
  p.far = rowLists(a, 11, "far", p.rows);
  p.sinks = a.f32(14, "sinks", p.heads);
  p.softmaxScale = static_cast<float>(a.number(15, "softmaxScale"));
  p.out = a.f32(16, "out", size, Access::writes);
  a.requireApart();
  checkLists(a, "near", p.near, p.rows, a.length(7, "near"), a.length(6, "window") / p.d);
  checkLists(a, "far", p.far, p.rows, a.length(11, "far"), a.length(10, "entries") / p.d);
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
  exports.Set("writeWindow", Napi::Function::New<writeWindow>(env, "writeWindow"));
  exports.Set("compress", Napi::Function::New<compress>(env, "compress"));
  exports.Set("indexSelect", Napi::Function::New<indexSelect>(env, "indexSelect"));
  exports.Set("attend", Napi::Function::New<attend>(env, "attend"));
  return exports;
}

}  // namespace

NODE_API_MODULE(attention, init)
