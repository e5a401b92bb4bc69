// Rotary positions and attention; arguments as in rows.cc. A step is `positions, rowSequence, rows`, pages of a kind
// are `base, ids, rows of a page`.
#include "../kernels/attention.h"

#include <algorithm>

#include "call.h"

namespace megamoe::cuda {

namespace {

StepRows stepArgument(OpCall& c) {
  StepRows step = {};
  step.positions = c.pointer<const std::int32_t>();
  step.rowSequence = c.pointer<const std::int32_t>();
  step.rows = c.integer();
  return step;
}

Pages pagesArgument(OpCall& c) {
  Pages pages = {};
  pages.base = c.pointer<const std::int32_t>();
  pages.ids = c.pointer<const std::int32_t>();
  pages.rows = static_cast<std::int32_t>(c.integer());
  return pages;
}

// invFreq, half, positions, rows, cos, sin
void ropeTablesOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "ropeTables", 6);
  const auto* invFreq = c.pointer<const float>();
  const std::int64_t half = c.integer();
  const auto* positions = c.pointer<const std::int32_t>();
  const std::int64_t rows = c.integer();
  auto* cos = c.pointer<float>();
  ropeTables(c.launch, invFreq, half, positions, rows, cos, c.pointer<float>());
  c.done();
}

// x, rows, heads, d, ropeDim, cos, sin, inverse
void ropeOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "rope", 8);
  auto* x = c.pointer<float>();
  const std::int64_t rows = c.integer(), heads = c.integer(), d = c.integer(), ropeDim = c.integer();
  const auto* cos = c.pointer<const float>();
  const auto* sin = c.pointer<const float>();
  rope(c.launch, x, rows, heads, d, ropeDim, cos, sin, c.flag() ? -1.f : 1.f);
  c.done();
}

KvType kvTypeArgument(OpCall& c) { return static_cast<KvType>(c.integer()); }

// step, window pages, d, kv, memory, its type
void writeWindowOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "writeWindow", 10);
  const StepRows step = stepArgument(c);
  const Pages window = pagesArgument(c);
  const std::int64_t d = c.integer();
  const auto* kv = c.pointer<const float>();
  auto* memory = c.pointer<void>();
  writeWindow(c.launch, step, window, d, kv, memory, kvTypeArgument(c));
  c.done();
}

// step, ratio, open pages, entry pages, width, dim, kv, gate, ape, norm, eps, invFreq, ropeDim, openKv, openGate,
// entries, their type
void compressOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "compress", 23);
  CompressParams p = {};
  p.step = stepArgument(c);
  p.ratio = static_cast<std::int32_t>(c.integer());
  p.open = pagesArgument(c), p.entryPages = pagesArgument(c);
  p.width = c.integer(), p.dim = c.integer();
  p.kv = c.pointer<const float>(), p.gate = c.pointer<const float>();
  p.ape = c.pointer<const float>(), p.norm = c.pointer<const float>();
  p.eps = c.number();
  p.invFreq = c.pointer<const float>(), p.ropeDim = c.integer();
  p.openKv = c.pointer<float>(), p.openGate = c.pointer<float>();
  p.entries = c.pointer<void>(), p.entryType = kvTypeArgument(c);
  compress(c.launch, p);
  c.done();
}

// Most bytes of scores at a time: longer steps go through in parts.
constexpr std::int64_t kScoreBytes = 64 << 20;

// step, entry pages, entries, q, headWeights, heads, dim, topk, most visible, selected
void indexSelectOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "indexSelect", 14);
  SelectParams p = {};
  p.step = stepArgument(c);
  p.entryPages = pagesArgument(c);
  p.entries = c.pointer<const float>(), p.q = c.pointer<const float>(), p.headWeights = c.pointer<const float>();
  p.heads = c.integer(), p.dim = c.integer(), p.topk = c.integer(), p.mostVisible = c.integer();
  p.selected = c.pointer<std::int32_t>();
  const std::int64_t rowBytes = std::max<std::int64_t>(p.mostVisible, 1) * 4;
  p.scoreRows = std::min(std::max<std::int64_t>(kScoreBytes / rowBytes, 1), std::min<std::int64_t>(p.step.rows, 65535));
  p.scores = static_cast<float*>(c.device.scratch(static_cast<std::size_t>(p.scoreRows * rowBytes)));
  indexSelect(c.launch, p);
  c.done();
}

// step, window, window pages, window memory, type of keys, ratio, entry pages, entries, selected, topk, q, heads, d,
// sinks, softmaxScale, out
void attendOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "attend", 22);
  AttendParams p = {};
  p.step = stepArgument(c);
  p.window = static_cast<std::int32_t>(c.integer());
  p.windowPages = pagesArgument(c);
  p.windowMemory = c.pointer<const void>(), p.type = kvTypeArgument(c);
  p.ratio = static_cast<std::int32_t>(c.integer());
  p.entryPages = pagesArgument(c);
  p.entries = c.pointer<const void>();
  p.selected = c.pointer<const std::int32_t>();
  p.topk = c.integer();
  p.q = c.pointer<const float>();
  p.heads = c.integer(), p.d = c.integer();
  p.sinks = c.pointer<const float>();
  p.softmaxScale = c.real();
  p.out = c.pointer<float>();
  attend(c.launch, p);
  c.done();
}

}  // namespace

void exportAttention(Napi::Object exports) {
  exportDeviceFunction<ropeTablesOp>(exports, "ropeTables");
  exportDeviceFunction<ropeOp>(exports, "rope");
  exportDeviceFunction<writeWindowOp>(exports, "writeWindow");
  exportDeviceFunction<compressOp>(exports, "compress");
  exportDeviceFunction<indexSelectOp>(exports, "indexSelect");
  exportDeviceFunction<attendOp>(exports, "attend");
}

}  // namespace megamoe::cuda
