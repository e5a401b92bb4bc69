// Routing and experts; arguments as in rows.cc.
#include "../kernels/linear.h"
#include "../kernels/route.h"
#include "../kernels/rows.h"
#include "../kernels/stage.h"
#include "../kernels/w4a4.h"
#include "call.h"
#include "weight.h"

namespace megamoe::cuda {

namespace {

// numExperts, topk, scoring, normalise, factor, logits, rows, bias, tokenIds, tid2eid, vocab, topkIds, topkWeights
void routeOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "route", 13);
  RouteParams p = {};
  p.numExperts = c.integer(), p.topk = c.integer();
  p.scoring = static_cast<Scoring>(c.integer());
  p.normalise = c.flag();
  p.factor = c.real();
  p.logits = c.pointer<const float>(), p.rows = c.integer(), p.bias = c.pointer<const float>();
  p.tokenIds = c.pointer<const std::int32_t>(), p.tid2eid = c.pointer<const std::int32_t>(), p.vocab = c.integer();
  p.topkIds = c.pointer<std::int32_t>(), p.topkWeights = c.pointer<float>();
  route(c.launch, p);
  c.done();
}

void assignSlotsOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "assignSlots", 7);
  const auto* ids = c.pointer<const std::int32_t>();
  const std::int64_t rows = c.integer(), topk = c.integer(), experts = c.integer();
  auto* ends = c.pointer<std::int32_t>();
  auto* slotToken = c.pointer<std::int32_t>();
  assignSlots(c.launch, ids, rows, topk, experts, ends, slotToken, c.pointer<std::int32_t>());
  c.done();
}

// What both stagings take last: ends, experts, slots; then globalScale, and codes, sf, rowScale or floats (0).
void stageInto(OpCall& c, StageRows rows) {
  rows.ends = c.pointer<const std::int32_t>();
  rows.experts = c.integer(), rows.slots = c.integer();
  const auto* globalScale = c.pointer<const float>();
  auto* codes = c.pointer<std::uint8_t>();
  auto* sf = c.pointer<std::uint8_t>();
  auto* rowScale = c.pointer<float>();
  auto* floats = c.pointer<float>();
  if (floats != nullptr)
    stageFloat(c.launch, rows, floats);
  else
    stageNvfp4(c.launch, rows, globalScale, codes, sf, rowScale);
  c.done();
}

// x, rows of x, k, slotToken, ...
void stageOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "stage", 12);
  StageRows rows = {};
  rows.x = c.pointer<const float>();
  rows.below = c.integer(), rows.k = c.integer();
  rows.slotToken = c.pointer<const std::int32_t>();
  stageInto(c, rows);
}

// gateUp, i, limit, ...
void swigluStageOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "swigluStage", 11);
  StageRows rows = {};
  rows.gateUp = c.pointer<const float>();
  rows.k = c.integer();
  rows.limit = c.real();
  stageInto(c, rows);
}

// Parts of one piece of scratch memory.
class Arena {
 public:
  // Bytes of an array of n, to the next part.
  template <class T>
  static std::size_t bytesOf(std::int64_t n) {
    return (static_cast<std::size_t>(n) * sizeof(T) + 255) & ~std::size_t{255};
  }
  explicit Arena(void* memory) : next_(static_cast<char*>(memory)) {}
  template <class T>
  T* take(std::int64_t n) {
    T* part = reinterpret_cast<T*>(next_);
    next_ += bytesOf<T>(n);
    return part;
  }

 private:
  char* next_;
};

// Scratch of a product: the plain kernel's jobs.
std::size_t productBytes(const W4A4Choice& choice, std::int64_t most) {
  return choice.kernel == W4A4Kernel::plain ? Arena::bytesOf<Job>(most) : 0;
}

void product(OpCall& c, const W4A4Params& p, const W4A4Choice& choice, W4A4Math math, const std::int32_t* ends,
             std::int64_t slots, Arena& arena) {
  if (choice.kernel != W4A4Kernel::plain) return w4a4Tiles(c.launch, p, choice, math, ends, slots);
  const std::int64_t experts = p.w.matrices, most = mostJobs(slots, experts, choice.rows);
  Job* jobs = arena.take<Job>(most);
  planJobs(c.launch, ends, experts, slots, choice.rows, p.alpha, p.parts, jobs, most);
  w4a4Plain(c.launch, p, jobs, most);
}

// Jobs of at most `tile` rows, in scratch memory.
struct Jobs {
  Job* jobs;
  std::int64_t most;
};

Jobs jobsOf(OpCall& c, const std::int32_t* ends, std::int64_t experts, std::int64_t slots, int tile, const float* alpha,
            std::int64_t parts) {
  const std::int64_t most = mostJobs(slots, experts, tile);
  Job* jobs = static_cast<Job*>(c.device.scratch(static_cast<std::size_t>(most) * sizeof(Job)));
  planJobs(c.launch, ends, experts, slots, tile, alpha, parts, jobs, most);
  return {jobs, most};
}

// After the weight: parts, slots, ends, alpha, floats, inputs as BF16, out.
void groupedFloatOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "groupedGemm", kWeightArguments + 7);
  const Weight w = weightArgument(c);
  const std::int64_t parts = c.integer(), slots = c.integer();
  const auto* ends = c.pointer<const std::int32_t>();
  const auto* alpha = c.pointer<const float>();
  const auto* floats = c.pointer<const float>();
  const bool rounded = c.flag();
  const Jobs j = jobsOf(c, ends, w.matrices, slots, kFloatJobRows, alpha, parts);
  groupedFloat(c.launch, w, j.jobs, j.most, floats, rounded, alpha, parts, c.pointer<float>());
  c.done();
}

W4A4Math mathArgument(OpCall& c) { return c.flag() ? W4A4Math::fast : W4A4Math::exact; }

// After the weight: parts, slots, ends, alpha, codes, sf, rowScale, fast, out.
void groupedW4A4Op(const Napi::CallbackInfo& info) {
  OpCall c(info, "groupedGemm", kWeightArguments + 9);
  W4A4Params p = {};
  p.w = weightArgument(c);
  p.parts = c.integer();
  const std::int64_t slots = c.integer();
  const auto* ends = c.pointer<const std::int32_t>();
  p.alpha = c.pointer<const float>();
  p.codes = c.pointer<const std::uint8_t>(), p.sf = c.pointer<const std::uint8_t>();
  p.rowScale = c.pointer<const float>();
  p.groups = 1, p.m = slots;
  const W4A4Math math = mathArgument(c);
  p.out = c.pointer<float>();
  const W4A4Choice choice = chooseW4A4(p.w.format == Format::packed, slots, p.w.matrices);
  const std::int64_t most = mostJobs(slots, p.w.matrices, choice.rows);
  Arena arena(c.device.scratch(productBytes(choice, most)));
  product(c, p, choice, math, ends, slots, arena);
  c.done();
}

// A dense linear with quantized inputs: its groups are experts of `rows` rows. After the weight: x, rows, alpha, parts,
// scale of the inputs (0: each row's own), fast, out.
void linearW4A4Op(const Napi::CallbackInfo& info) {
  OpCall c(info, "linear", kWeightArguments + 7);
  W4A4Params p = {};
  p.w = weightArgument(c);
  const auto* x = c.pointer<const float>();
  const std::int64_t rows = c.integer(), groups = p.w.matrices, k = p.w.k, slots = rows * groups;
  p.alpha = c.pointer<const float>();
  p.parts = c.integer();
  const float scale = c.real();
  const W4A4Math math = mathArgument(c);
  p.groups = groups, p.m = rows;
  p.out = c.pointer<float>();
  const W4A4Choice choice = chooseW4A4(p.w.format == Format::packed, slots, groups);
  const std::int64_t most = mostJobs(slots, groups, choice.rows);
  Arena arena(c.device.scratch(Arena::bytesOf<std::int32_t>(slots) + Arena::bytesOf<std::int32_t>(groups) +
                               2 * Arena::bytesOf<float>(groups) + Arena::bytesOf<float>(slots) +
                               Arena::bytesOf<std::uint8_t>(slots * k / 2) +
                               Arena::bytesOf<std::uint8_t>(slots * k / 16) + productBytes(choice, most)));
  auto* slotRow = arena.take<std::int32_t>(slots);
  auto* ends = arena.take<std::int32_t>(groups);
  auto* scales = arena.take<float>(groups);
  auto* rowScale = arena.take<float>(slots);
  auto* codes = arena.take<std::uint8_t>(slots * k / 2);
  auto* sf = arena.take<std::uint8_t>(slots * k / 16);
  groupRows(c.launch, rows, groups, scale, slotRow, ends, scales);
  StageRows s = {};
  s.ends = ends, s.experts = groups, s.slots = slots;
  s.x = x, s.below = slots, s.slotToken = slotRow, s.k = k;
  const bool hasOwn = scale == 0.f;
  stageNvfp4(c.launch, s, hasOwn ? nullptr : scales, codes, sf, rowScale);
  p.codes = codes, p.sf = sf, p.rowScale = hasOwn ? rowScale : nullptr;
  product(c, p, choice, math, ends, slots, arena);
  c.done();
}

// y, rows of y, d, tokenSlots, topkWeights, rows, topk, out
void scatterExpertsOp(const Napi::CallbackInfo& info) {
  OpCall c(info, "scatterExperts", 8);
  const auto* y = c.pointer<const float>();
  const std::int64_t below = c.integer(), d = c.integer();
  const auto* slots = c.pointer<const std::int32_t>();
  const auto* weights = c.pointer<const float>();
  const std::int64_t rows = c.integer(), topk = c.integer();
  scatterExperts(c.launch, y, below, d, slots, weights, rows, topk, c.pointer<float>());
  c.done();
}

}  // namespace

void exportExperts(Napi::Object exports) {
  exportDeviceFunction<routeOp>(exports, "route");
  exportDeviceFunction<assignSlotsOp>(exports, "assignSlots");
  exportDeviceFunction<stageOp>(exports, "stage");
  exportDeviceFunction<swigluStageOp>(exports, "swigluStage");
  exportDeviceFunction<groupedFloatOp>(exports, "groupedFloat");
  exportDeviceFunction<groupedW4A4Op>(exports, "groupedW4A4");
  exportDeviceFunction<linearW4A4Op>(exports, "linearW4A4");
  exportDeviceFunction<scatterExpertsOp>(exports, "scatterExperts");
}

}  // namespace megamoe::cuda
