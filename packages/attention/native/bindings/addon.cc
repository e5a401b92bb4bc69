// Node-API side: unwraps positional arguments (the order of src/native.ts after isa and threads), guards every length
// and index that the kernels would otherwise trust, and runs the operation. TypeScript has validated already and gives
// the better messages; these guards are there so that no call, however wrong, reads or writes outside its arrays.
#include <megamoe/napi_kernels.h>

#include <algorithm>
#include <string>

#include "../kernels/dispatch.h"

namespace megamoe::attention {

namespace {

// Raised with every change of the functions' arguments; src/native.ts asks for it.
constexpr int kInterfaceVersion = 2;
constexpr std::int64_t kMax = 0x7fffffff;

// A call `name(isa, threads, ...)`.
class Call : public KernelCall<KernelTable> {
 public:
  Call(const Napi::CallbackInfo& info, const char* name, std::size_t count)
      : KernelCall(info, name, count, availableTables()) {}
};

[[noreturn]] void fail(const NapiArgs& a, const char* name, const std::string& what) {
  throw Napi::RangeError::New(a.env(), a.text(name) + " " + what);
}

std::int64_t ropeDim(const NapiArgs& a, std::size_t i, std::int64_t d) {
  const std::int64_t v = a.integer(i, "ropeDim", 0, d);
  if (v % 2 != 0) fail(a, "ropeDim", "must be even, got " + std::to_string(v));
  return v;
}

// Throws unless every value lies in [min, below).
void checkIndices(const NapiArgs& a, const char* name, const std::int32_t* v, std::int64_t n, std::int64_t min,
                  std::int64_t below) {
  for (std::int64_t i = 0; i < n; i++) {
    if (v[i] < min || v[i] >= below)
      fail(a, name,
           "must hold values in [" + std::to_string(min) + ", " + std::to_string(below) + "), got " +
               std::to_string(v[i]));
  }
}

// Memory of rows `width` wide that a call writes some rows of: all of it counts.
struct Memory {
  float* data;
  std::int64_t rows;
};

Memory written(const NapiArgs& a, std::size_t i, const char* name, std::int64_t width) {
  return {a.f32(i, name, kWhole, Access::writes), a.length(i, name) / width};
}

void rope(const Napi::CallbackInfo& info) {
  const Call a(info, "rope", 10);
  RopeParams p{};
  p.rows = a.integer(3, "rows", 0, kMax);
  p.heads = a.integer(4, "heads", 1, kMax);
  p.d = a.integer(5, "d", 1, kMax);
  p.ropeDim = ropeDim(a, 6, p.d);
  p.x = a.f32(2, "x", a.product("rows*heads*d", p.rows, p.heads, p.d), Access::writes);
  p.cos = a.f32(7, "cos", a.product("rows*ropeDim/2", p.rows, p.ropeDim / 2));
  p.sin = a.f32(8, "sin", a.product("rows*ropeDim/2", p.rows, p.ropeDim / 2));
  p.inverse = a.boolean(9, "inverse");
  a.requireApart();
  a.table.rope(p, a.threads);
}

void writeWindow(const Napi::CallbackInfo& info) {
  const Call a(info, "writeWindow", 7);
  WriteWindowParams p{};
  p.rows = a.integer(3, "rows", 0, kMax);
  p.d = a.integer(4, "d", 1, kMax);
  p.kv = a.f32(2, "kv", a.product("rows*d", p.rows, p.d));
  p.to = a.i32(5, "to", p.rows);
  const Memory window = written(a, 6, "window", p.d);
  p.window = window.data;
  a.requireApart();
  checkIndices(a, "to", p.to, p.rows, 0, window.rows);
  a.table.writeWindow(p, a.threads);
}

void compress(const Napi::CallbackInfo& info) {
  const Call a(info, "compress", 22);
  CompressParams p{};
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
  p.candidatesPerEntry = a.integer(12, "candidatesPerEntry", 1, kMaxCandidates);
  const std::int64_t candidates = a.product("closed*candidatesPerEntry", p.closed, p.candidatesPerEntry);
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
  const std::int64_t openRows = std::min(openKv.rows, openGate.rows);
  checkIndices(a, "apeRow", p.apeRow, p.rows, 0, a.length(6, "ape") / p.width);
  checkIndices(a, "openRow", p.openRow, p.rows, 0, openRows);
  checkIndices(a, "candidates", p.candidates, candidates, -1, openRows);
  checkIndices(a, "entryRow", p.entryRow, p.closed, 0, entries.rows);
  a.table.compress(p, a.threads);
}

// Throws unless the pages of every row's entries are listed and there.
void checkPages(const NapiArgs& a, const IndexSelectParams& p, std::int64_t ids, std::int64_t pages) {
  std::int64_t base = -1, checked = 0;  // rows of a sequence stand together and have one base
  for (std::int64_t r = 0; r < p.rows; r++) {
    const std::int64_t visible = p.visible[r];
    if (visible < 0) fail(a, "visible", "must be at least 0, got " + std::to_string(visible));
    if (p.pageBase[r] != base) {
      base = p.pageBase[r];
      checked = 0;
    }
    const std::int64_t used = (visible + p.pageRows - 1) / p.pageRows;
    if (base < 0 || base + used > ids) fail(a, "pageBase", "is outside pageIds: " + std::to_string(base));
    checkIndices(a, "pageIds", p.pageIds + base + checked, used - checked, 0, pages);
    checked = std::max(checked, used);
  }
}

void indexSelect(const Napi::CallbackInfo& info) {
  const Call a(info, "indexSelect", 14);
  IndexSelectParams p{};
  p.rows = a.integer(4, "rows", 0, kMax);
  p.heads = a.integer(5, "heads", 1, kMax);
  p.dim = a.integer(6, "dim", 1, kMax);
  p.topk = a.integer(7, "topk", 0, kMax);
  p.q = a.f32(2, "q", a.product("rows*heads*dim", p.rows, p.heads, p.dim));
  p.headWeights = a.f32(3, "headWeights", a.product("rows*heads", p.rows, p.heads));
  p.visible = a.i32(8, "visible", p.rows);
  p.pageBase = a.i32(9, "pageBase", p.rows);
  const std::int64_t ids = a.length(10, "pageIds");
  p.pageIds = a.i32(10, "pageIds", kWhole);
  p.pageRows = a.integer(11, "pageRows", 1, kMax);
  p.entries = a.f32(12, "entries", kWhole);
  const std::int64_t selected = a.product("rows*topk", p.rows, p.topk);
  p.selected = a.i32(13, "selected", selected, Access::writes);
  a.requireApart();
  checkPages(a, p, ids, a.length(12, "entries") / p.dim / p.pageRows);
  a.table.indexSelect(p, a.threads);
}

// The lists of arguments i to i + 2: index, start, count.
RowLists rowLists(const NapiArgs& a, std::size_t i, const char* name, std::int64_t rows) {
  return {a.i32(i, name, kWhole), a.i32(i + 1, name, rows), a.i32(i + 2, name, rows)};
}

// Throws unless every list lies in its `length` values, which all name rows below `below`.
void checkLists(const NapiArgs& a, const char* name, const RowLists& lists, std::int64_t rows, std::int64_t length,
                std::int64_t below) {
  std::int64_t first = length, end = 0;
  for (std::int64_t r = 0; r < rows; r++) {
    const std::int64_t start = lists.start[r], count = lists.count[r];
    if (start < 0 || count < 0 || start + count > length)
      fail(a, name, "has a list outside its index, at row " + std::to_string(r));
    first = std::min(first, start);
    end = std::max(end, start + count);
  }
  if (first < end) checkIndices(a, name, lists.index + first, end - first, 0, below);
}

void attend(const Napi::CallbackInfo& info) {
  const Call a(info, "attend", 17);
  AttendParams p{};
  p.rows = a.integer(3, "rows", 0, kMax);
  p.heads = a.integer(4, "heads", 1, kMax);
  p.d = a.integer(5, "d", 1, kMax);
  const std::int64_t size = a.product("rows*heads*d", p.rows, p.heads, p.d);
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
  a.table.attend(p, a.threads);
}

}  // namespace

static Napi::Object init(Napi::Env, Napi::Object exports) {
  if (!exportTables(exports, kInterfaceVersion, availableTables)) return exports;
  exportFunction<rope>(exports, "rope");
  exportFunction<writeWindow>(exports, "writeWindow");
  exportFunction<compress>(exports, "compress");
  exportFunction<indexSelect>(exports, "indexSelect");
  exportFunction<attend>(exports, "attend");
  return exports;
}

NODE_API_MODULE(attention, init)

}  // namespace megamoe::attention
