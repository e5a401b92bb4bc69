// Rotary positions and what sequences remember; the rules are those of @megamoe/attention.
#pragma once

#include "launch.h"
#include "pages.h"

namespace megamoe::cuda {

// cos, sin [rows, half] of f32(position * invFreq[i]).
void ropeTables(const Launch& l, const float* invFreq, std::int64_t half, const std::int32_t* positions,
                std::int64_t rows, float* cos, float* sin);

// Interleaved pairs of the last ropeDim of each head of x [rows, heads, d], in place; sign -1 turns back.
void rope(const Launch& l, float* x, std::int64_t rows, std::int64_t heads, std::int64_t d, std::int64_t ropeDim,
          const float* cos, const float* sin, float sign);

// How a cache holds keys: those of the window and entries. The others are float32.
enum class KvType : int { f32, bf16 };

// Key rows kv [rows, d] to their places.
void writeWindow(const Launch& l, const StepRows& step, const Pages& window, std::int64_t d, const float* kv,
                 void* memory, KvType type);

struct CompressParams {
  StepRows step;
  std::int32_t ratio;  // 4 or 128
  Pages open, entryPages;
  std::int64_t width, dim;  // width = 2*dim where windows overlap (ratio 4)
  const float *kv, *gate;   // [rows, width]
  const float *ape, *norm;  // [ratio, width], [dim]
  double eps;
  const float* invFreq;  // [ropeDim/2]
  std::int64_t ropeDim;
  float *openKv, *openGate;  // [*, width]
  void* entries;             // [*, dim] of entryType
  KvType entryType;
};

// Keeps the projections of all rows, then closes the windows that become full.
void compress(const Launch& l, const CompressParams& p);

struct SelectParams {
  StepRows step;
  Pages entryPages;
  const float* entries;      // [*, dim]
  const float* q;            // [rows, heads, dim]
  const float* headWeights;  // [rows, heads]
  std::int64_t heads, dim, topk;
  std::int64_t mostVisible;  // entries that the row sees that sees most
  float* scores;             // [rows of a launch, mostVisible]
  std::int64_t scoreRows;    // that `scores` holds
  std::int32_t* selected;    // [rows, topk]
};

// The entries with the highest score, ascending, padded with -1; ties to the lowest.
void indexSelect(const Launch& l, const SelectParams& p);

struct AttendParams {
  StepRows step;
  std::int32_t window;  // recent tokens that a row sees, its own included
  Pages windowPages;
  const void* windowMemory;  // [*, d] of `type`
  KvType type;
  std::int32_t ratio;  // 0: no entries
  Pages entryPages;
  const void* entries;           // [*, d] of `type`
  const std::int32_t* selected;  // [rows, topk], or null: all that are visible
  std::int64_t topk;
  const float* q;  // [rows, heads, d]
  std::int64_t heads, d;
  const float* sinks;  // [heads]
  float softmaxScale;
  float* out;  // [rows, heads, d]
};

// Largest head.
constexpr std::int64_t kMostHeadDim = 1024;

// Softmax over the window and then entries, K = V; the sink is in the denominator only.
void attend(const Launch& l, const AttendParams& p);

}  // namespace megamoe::cuda
