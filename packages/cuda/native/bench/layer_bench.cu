// One layer of DeepSeek-V4-Flash, launched operation after operation as a step does: decodes of 1, 8 and 64 sequences
// and a prompt of 4096 tokens. Every operation's time (with the gap before it, as a step has it) stands beside its
// floor: the larger of its bytes over the read rate of this run and its operations over 700 TFLOP/s. Experts are drawn
// anew for each run and the L2 cache is swept between runs, so that weights come from memory.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "../device/device.h"
#include "../device/read.cuh"
#include "../kernels/attention.h"
#include "../kernels/hyper.h"
#include "../kernels/linear.h"
#include "../kernels/packed.h"
#include "../kernels/route.h"
#include "../kernels/rows.h"
#include "../kernels/stage.h"
#include "../kernels/w4a4.h"

using namespace megamoe::cuda;

namespace {

constexpr std::int64_t kD = 4096, kHeads = 64, kHeadDim = 512, kRopeDim = 64, kQLora = 1024, kOLora = 1024, kGroups = 8;
constexpr std::int64_t kIndexHeads = 64, kIndexDim = 128, kIndexTopk = 512, kHc = 4, kMixes = (2 + kHc) * kHc;
constexpr std::int64_t kExperts = 256, kTopk = 6, kInner = 2048, kContext = 4096;
constexpr std::int32_t kWindow = 128, kRatio = 4;
constexpr double kPeak = 700e12;

__device__ std::uint32_t hashOf(std::size_t i) {
  std::uint32_t v = static_cast<std::uint32_t>(i) * 2654435761u ^ 0x9e3779b9u;
  v ^= v >> 15, v *= 2246822519u, v ^= v >> 13, v *= 3266489917u;
  return v ^ v >> 16;
}

// Words `& mask | set`, or floats in [-size, size).
__global__ void fillWords(std::uint32_t* p, std::size_t n, std::uint32_t mask, std::uint32_t set) {
  for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < n;
       i += static_cast<std::size_t>(gridDim.x) * blockDim.x)
    p[i] = (hashOf(i) & mask) | set;
}
__global__ void fillFloats(float* p, std::size_t n, float size) {
  for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < n;
       i += static_cast<std::size_t>(gridDim.x) * blockDim.x)
    p[i] = (static_cast<float>(hashOf(i)) * 0x1p-31f - 1.f) * size;
}

struct Operation {
  const char* name;
  double bytes, flop;  // of weights, keys and rows that it must read and write; of its products
  std::function<void(const Launch&)> run;
};

class Bench {
 public:
  Bench() : d_(0), stream_(d_.launch(0).stream) {
    w13_ = expertWeights(2 * kInner, kD), w2_ = expertWeights(kD, kInner);
    const std::size_t bytes = kExperts * 2 * kInner * kD / 16 * 9;
    auto* sink = static_cast<uint4*>(d_.allocate(16));
    sweep_ = [=] { readKernel<<<132 * 16, 512, 0, stream_>>>(static_cast<const uint4*>(w13_.data), bytes / 16, sink); };
    std::vector<float> times;
    for (int i = 0; i < 9; i++) times.push_back(timeOf(sweep_));
    std::sort(times.begin(), times.end());
    rate_ = static_cast<double>(bytes) / (times[4] * 1e-3);
    std::printf("read %.2f TB/s\n", rate_ / 1e12);
  }

  // `sequences` of `each` rows whose first position is `position`.
  void step(const char* what, std::int64_t sequences, std::int64_t each, std::int32_t position);

 private:
  float* floats(std::int64_t n, float size = 1.f) {
    auto* p = static_cast<float*>(d_.allocate(n * 4));
    fillFloats<<<1056, 256, 0, stream_>>>(p, n, size);
    step_.push_back(p);
    return p;
  }
  template <class T>
  T* put(const std::vector<T>& v) {
    auto* p = static_cast<T*>(d_.allocate(v.size() * sizeof(T)));
    d_.upload(p, v.data(), v.size() * sizeof(T));
    step_.push_back(p);
    return p;
  }
  std::uint32_t* words(std::int64_t bytes, std::uint32_t mask, std::uint32_t set) {
    auto* p = static_cast<std::uint32_t*>(d_.allocate(bytes));
    fillWords<<<1056, 256, 0, stream_>>>(p, bytes / 4, mask, set);
    step_.push_back(p);
    return p;
  }
  Weight expertWeights(std::int64_t n, std::int64_t k) {
    auto* p = static_cast<std::uint32_t*>(d_.allocate(kExperts * n * k / 16 * 9));
    fillWords<<<1056, 256, 0, stream_>>>(p, kExperts * n * k / 64 * 9, 0x37373737u, 0x08080808u);
    return {Format::packed, kExperts, n, k, p, nullptr};
  }
  // FP8 in tiles of 128 x 128, or BF16.
  Weight dense(std::int64_t groups, std::int64_t n, std::int64_t k, bool bf16 = false) {
    if (bf16) return {Format::bf16, groups, n, k, words(groups * n * k * 2, 0x803f803fu, 0x3c003c00u), nullptr};
    return {Format::fp8, groups, n, k, words(groups * n * k, 0xb7b7b7b7u, 0), floats(groups * n * k / 128, 1e-2f)};
  }
  float timeOf(const std::function<void()>& f) {
    cudaEvent_t begin, end;
    check(cudaEventCreate(&begin), "event"), check(cudaEventCreate(&end), "event");
    cudaEventRecord(begin, stream_);
    f();
    cudaEventRecord(end, stream_);
    check(cudaEventSynchronize(end), "kernel");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    cudaEventDestroy(begin), cudaEventDestroy(end);
    return ms;
  }
  void linearOp(const char* name, std::int64_t groups, std::int64_t n, std::int64_t k, const float* x,
                std::int64_t rows, float* out, bool bf16 = false) {
    const Weight w = dense(groups, n, k, bf16);
    add(name, groups * n * k * (bf16 ? 2. : 1.) + rows * groups * (n + k) * 4., 2. * rows * groups * n * k,
        [=](const Launch& l) { linear(l, w, x, rows, false, nullptr, 1, out); });
  }
  void add(const char* name, double bytes, double flop, std::function<void(const Launch&)> run) {
    operations_.push_back({name, bytes, flop, std::move(run)});
  }
  void measure(const char* what, const std::function<void()>& prepare, int runs);

  Device d_;
  cudaStream_t stream_;
  Weight w13_, w2_;
  std::function<void()> sweep_;
  double rate_;
  std::vector<void*> step_;
  std::vector<Operation> operations_;
};

void Bench::measure(const char* what, const std::function<void()>& prepare, int runs) {
  const std::size_t n = operations_.size();
  std::vector<std::vector<float>> times(n);
  std::vector<float> whole;
  std::vector<cudaEvent_t> marks(n + 1);
  for (auto& mark : marks) check(cudaEventCreate(&mark), "event");
  for (int run = -1; run < runs; run++) {  // the first is not counted
    prepare();
    sweep_();
    // Launched behind the sweep, so that kernels do not wait for the host.
    cudaEventRecord(marks[0], stream_);
    for (std::size_t i = 0; i < n; i++) {
      operations_[i].run(d_.launch(static_cast<int>(i)));
      cudaEventRecord(marks[i + 1], stream_);
    }
    check(cudaEventSynchronize(marks[n]), "step");
    for (std::size_t i = 0; i < n && run >= 0; i++) {
      float ms = 0;
      cudaEventElapsedTime(&ms, marks[i], marks[i + 1]);
      times[i].push_back(ms);
    }
    prepare();
    sweep_();
    const float ms = timeOf([&] {
      for (std::size_t i = 0; i < n; i++) operations_[i].run(d_.launch(static_cast<int>(i)));
    });
    if (run >= 0) whole.push_back(ms);
  }
  if (d_.dataFailure().kind != DataError::none) std::printf("an operation reported an error in data\n");
  const auto median = [](std::vector<float> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
  };
  double floors = 0;
  std::printf("%s\n", what);
  for (std::size_t i = 0; i < n; i++) {
    const Operation& o = operations_[i];
    const double floorUs = std::max(o.bytes / rate_, o.flop / kPeak) * 1e6, us = median(times[i]) * 1e3;
    floors += floorUs;
    std::printf("  %-34s %10.1f us, floor %8.1f, %7.1f of it\n", o.name, us, floorUs, us / floorUs);
  }
  std::printf("  %-34s %10.1f us, floor %8.1f, %7.1f of it\n", "the layer", median(whole) * 1e3, floors,
              median(whole) * 1e3 / floors);
  std::fflush(stdout);
  for (auto& mark : marks) cudaEventDestroy(mark);
}

void Bench::step(const char* what, std::int64_t sequences, std::int64_t each, std::int32_t position) {
  operations_.clear();
  const std::int64_t rows = sequences * each, slots = rows * kTopk, tokens = kContext + 8;
  std::vector<std::int32_t> positions, rowSequence, base, ids;
  for (std::int32_t s = 0; s < sequences; s++) {
    base.push_back(s), ids.push_back(s);  // a page a sequence
    for (std::int32_t i = 0; i < each; i++) positions.push_back(position + i), rowSequence.push_back(s);
  }
  const StepRows stepRows = {put(positions), put(rowSequence), rows};
  const auto* pageBase = put(base);
  const auto* pageIds = put(ids);
  const Pages tokenPages = {pageBase, pageIds, static_cast<std::int32_t>(tokens)};
  const Pages entryPages = {pageBase, pageIds, static_cast<std::int32_t>(tokens / kRatio)};
  const std::int64_t visible = (position + each) / kRatio;
  // Rows see half of a prompt's keys in the mean.
  const double entriesSeen = each > 1 ? visible / 2. : static_cast<double>(visible);
  const double chosen = std::min<double>(kIndexTopk, entriesSeen), keys = chosen + kWindow;

  float *streams = floats(rows * kHc * kD), *post = floats(rows * kHc), *comb = floats(rows * kHc * kHc);
  float *collapsed = floats(rows * kD), *normed = floats(rows * kD), *blockOut = floats(rows * kD);
  auto* mixes = static_cast<double*>(static_cast<void*>(words(hyperScratchBytes(rows, kMixes), ~0u, 0)));
  const float *one = floats(kHeadDim * kHeads), *fn = floats(kMixes * kHc * kD, 1e-2f), *bias = floats(kMixes);
  const HyperInput hyper = {streams, rows, kHc, kD, fn, bias, floats(3), 1e-6, 1e-6};
  const auto hyperPre = [&] {
    add("hyper-connection, before", kMixes * kHc * kD * 4. + rows * (kHc + 1) * kD * 4., 0,
        [=](const Launch& l) { hcPre(l, hyper, 20, mixes, post, comb, collapsed); });
  };
  const auto hyperPost = [&] {
    add("hyper-connection, after", rows * (2 * kHc + 1) * kD * 4., 0,
        [=](const Launch& l) { hcPost(l, streams, blockOut, rows, kHc, kD, post, comb); });
  };
  const auto norm = [&](const char* name, float* x, std::int64_t n, std::int64_t d, float* out) {
    add(name, n * d * 8., 0, [=](const Launch& l) { rmsNorm(l, x, n, d, one, 1e-6, out); });
  };
  float *cos = floats(rows * kRopeDim / 2), *sin = floats(rows * kRopeDim / 2);
  const auto turn = [&](const char* name, float* x, std::int64_t heads, std::int64_t d, float sign) {
    add(name, rows * heads * kRopeDim * 8., 0,
        [=](const Launch& l) { rope(l, x, rows, heads, d, kRopeDim, cos, sin, sign); });
  };

  float *qLora = floats(rows * kQLora), *q = floats(rows * kHeads * kHeadDim), *kv = floats(rows * kHeadDim);
  hyperPre();
  norm("norm of the input", collapsed, rows, kD, normed);
  linearOp("q down", 1, kQLora, kD, normed, rows, qLora);
  norm("norm of q down", qLora, rows, kQLora, qLora);
  linearOp("q up", 1, kHeads * kHeadDim, kQLora, qLora, rows, q);
  norm("norm of heads", q, rows * kHeads, kHeadDim, q);
  turn("rope of q", q, kHeads, kHeadDim, 1.f);
  linearOp("kv", 1, kHeadDim, kD, normed, rows, kv);
  norm("norm of kv", kv, rows, kHeadDim, kv);
  turn("rope of kv", kv, 1, kHeadDim, 1.f);
  float* window = floats(sequences * tokens * kHeadDim);
  add("write window", rows * kHeadDim * 8., 0,
      [=](const Launch& l) { writeWindow(l, stepRows, tokenPages, kHeadDim, kv, window, KvType::f32); });
  const float* invFreq = floats(kRopeDim / 2);
  const auto compressor = [&](const char* kvName, const char* gateName, const char* name, std::int64_t dim) {
    float *ckv = floats(rows * 2 * dim), *gate = floats(rows * 2 * dim);
    linearOp(kvName, 1, 2 * dim, kD, normed, rows, ckv, true);
    linearOp(gateName, 1, 2 * dim, kD, normed, rows, gate, true);
    CompressParams c = {};
    c.step = stepRows, c.ratio = kRatio, c.open = tokenPages, c.entryPages = entryPages;
    c.width = 2 * dim, c.dim = dim, c.kv = ckv, c.gate = gate;
    c.ape = floats(kRatio * 2 * dim), c.norm = floats(dim), c.eps = 1e-6, c.invFreq = invFreq, c.ropeDim = kRopeDim;
    c.openKv = floats(sequences * tokens * 2 * dim), c.openGate = floats(sequences * tokens * 2 * dim);
    float* entries = floats(sequences * (tokens / kRatio) * dim);
    c.entries = entries;
    add(name, rows * dim * 2 * 4. * 4, 0, [=](const Launch& l) { compress(l, c); });
    return entries;
  };
  float* entries = compressor("compressor kv", "compressor gate", "compress", kHeadDim);
  float* indexEntries = compressor("indexer compressor kv", "indexer compressor gate", "indexer compress", kIndexDim);
  float *indexQ = floats(rows * kIndexHeads * kIndexDim), *headWeights = floats(rows * kIndexHeads);
  linearOp("indexer q", 1, kIndexHeads * kIndexDim, kQLora, qLora, rows, indexQ);
  turn("rope of indexer q", indexQ, kIndexHeads, kIndexDim, 1.f);
  linearOp("indexer weights", 1, kIndexHeads, kD, normed, rows, headWeights, true);
  SelectParams s = {};
  s.step = stepRows, s.entryPages = entryPages, s.entries = indexEntries, s.q = indexQ, s.headWeights = headWeights;
  s.heads = kIndexHeads, s.dim = kIndexDim, s.topk = kIndexTopk, s.mostVisible = visible, s.scoreRows = rows;
  s.scores = floats(rows * visible);
  s.selected = static_cast<std::int32_t*>(static_cast<void*>(floats(rows * kIndexTopk)));
  add("index select", sequences * visible * kIndexDim * 4. + rows * kIndexHeads * kIndexDim * 4.,
      2. * rows * kIndexHeads * kIndexDim * entriesSeen, [=](const Launch& l) { indexSelect(l, s); });
  float* attnOut = floats(rows * kHeads * kHeadDim);
  AttendParams a = {};
  a.step = stepRows, a.window = kWindow, a.windowPages = tokenPages, a.windowMemory = window, a.ratio = kRatio;
  a.entryPages = entryPages, a.entries = entries, a.selected = s.selected, a.topk = kIndexTopk, a.q = q;
  a.heads = kHeads, a.d = kHeadDim, a.sinks = floats(kHeads), a.softmaxScale = 0.0441941738f, a.out = attnOut;
  add("attend", sequences * (each > 1 ? visible : chosen + kWindow) * kHeadDim * 4. + rows * kHeads * kHeadDim * 8.,
      4. * rows * kHeads * kHeadDim * keys, [=](const Launch& l) { attend(l, a); });
  turn("rope of the sum", attnOut, kHeads, kHeadDim, -1.f);
  float* oLora = floats(rows * kGroups * kOLora);
  linearOp("out down", kGroups, kOLora, kHeads * kHeadDim / kGroups, attnOut, rows, oLora);
  linearOp("out up", 1, kD, kGroups * kOLora, oLora, rows, blockOut);
  hyperPost();

  hyperPre();
  norm("norm of the experts' input", collapsed, rows, kD, normed);
  float* logits = floats(rows * kExperts);
  linearOp("router", 1, kExperts, kD, normed, rows, logits, true);
  auto* topkIds = put(std::vector<std::int32_t>(slots));
  auto *slotToken = put(std::vector<std::int32_t>(slots)), *tokenSlots = put(std::vector<std::int32_t>(slots));
  auto* ends = put(std::vector<std::int32_t>(kExperts));
  auto* drawn = put(std::vector<std::int32_t>(slots));
  float* topkWeights = floats(slots);
  RouteParams r = {};
  r.numExperts = kExperts, r.topk = kTopk, r.scoring = Scoring::sqrtsoftplus, r.normalise = true, r.factor = 1.5f;
  r.logits = logits, r.rows = rows, r.bias = floats(kExperts), r.topkIds = topkIds, r.topkWeights = topkWeights;
  add("route", rows * kExperts * 4., 0, [=](const Launch& l) { route(l, r); });
  // The experts are those that were drawn.
  add("assign slots", slots * 16., 0,
      [=](const Launch& l) { assignSlots(l, drawn, rows, kTopk, kExperts, ends, slotToken, tokenSlots); });
  auto* codes = static_cast<std::uint8_t*>(static_cast<void*>(words(slots * kD / 2, ~0u, 0)));
  auto* sf = static_cast<std::uint8_t*>(static_cast<void*>(words(slots * kD / 16, 0x77777777u, 0)));
  const float *globalScale = put(std::vector<float>(kExperts, 1e-3f)),
              *alpha = put(std::vector<float>(2 * kExperts, 1.f));
  StageRows in = {};
  in.ends = ends, in.experts = kExperts, in.slots = slots, in.x = normed, in.below = rows, in.slotToken = slotToken;
  in.k = kD;
  add("stage", rows * kD * 4. + slots * kD * 9. / 16, 0,
      [=](const Launch& l) { stageNvfp4(l, in, globalScale, codes, sf, nullptr); });
  double active = 0;  // experts with rows, in the mean
  for (double e = 0, none = 1; e < rows; e++) none *= 1 - 1. * kTopk / kExperts, active = kExperts * (1 - none);
  float *gateUp = floats(slots * 2 * kInner), *slotOut = floats(slots * kD);
  const auto grouped = [&](const char* name, const Weight& w, std::int64_t parts, float* out) {
    W4A4Params p = {};
    p.w = w, p.codes = codes, p.sf = sf, p.alpha = alpha, p.parts = parts, p.groups = 1, p.m = slots, p.out = out;
    const W4A4Choice choice = chooseW4A4(true, slots, kExperts);
    add(name, active * w.n * w.k * 9 / 16 + slots * (w.k * 9. / 16 + w.n * 4.), 2. * slots * w.n * w.k,
        [=](const Launch& l) { w4a4Tiles(l, p, choice, W4A4Math::exact, ends, slots); });
  };
  grouped("gate and up of experts, W4A4", w13_, 2, gateUp);
  StageRows mid = {};
  mid.ends = ends, mid.experts = kExperts, mid.slots = slots, mid.gateUp = gateUp, mid.limit = 10.f, mid.k = kInner;
  add("swiglu and stage", slots * kInner * (8. + 9. / 16), 0,
      [=](const Launch& l) { stageNvfp4(l, mid, globalScale, codes, sf, nullptr); });
  grouped("down of experts, W4A4", w2_, 1, slotOut);
  add("scatter", slots * kD * 4. + rows * kD * 4., 0,
      [=](const Launch& l) { scatterExperts(l, slotOut, slots, kD, tokenSlots, topkWeights, rows, kTopk, blockOut); });
  float *sharedGateUp = floats(rows * 2 * kInner), *sharedUp = floats(rows * kInner), *sharedOut = floats(rows * kD);
  linearOp("gate and up, shared", 1, 2 * kInner, kD, normed, rows, sharedGateUp);
  add("swiglu, shared", rows * kInner * 12., 0,
      [=](const Launch& l) { swiglu(l, sharedGateUp, rows, kInner, 10.f, sharedUp); });
  linearOp("down, shared", 1, kD, kInner, sharedUp, rows, sharedOut);
  add("add", rows * kD * 12., 0, [=](const Launch& l) { megamoe::cuda::add(l, blockOut, sharedOut, rows * kD); });
  hyperPost();

  std::mt19937 random(7);
  std::vector<std::int32_t> draw(slots);
  const auto prepare = [&] {
    for (std::int64_t t = 0; t < rows; t++)
      for (std::int64_t i = 0; i < kTopk; i++) {
        auto* first = draw.data() + t * kTopk;
        do first[i] = static_cast<std::int32_t>(random() % kExperts);
        while (std::find(first, first + i, first[i]) != first + i);
      }
    d_.upload(drawn, draw.data(), draw.size() * 4);
    d_.beginStep();
  };
  measure(what, prepare, each > 1 ? 3 : 9);
  for (void* p : step_) d_.release(p);
  step_.clear();
}

}  // namespace

int main() {
  Bench bench;
  bench.step("decode, 1 sequence after 4,095 tokens", 1, 1, kContext - 1);
  bench.step("decode, 8 sequences after 4,095 tokens", 8, 1, kContext - 1);
  bench.step("decode, 64 sequences after 4,095 tokens", 64, 1, kContext - 1);
  bench.step("prefill of 4,096 tokens", 1, kContext, 0);
  return 0;
}
