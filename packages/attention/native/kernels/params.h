// Arguments of the operations, a type for each (see kernel_table.h). Every pointer says its shape; "[*, W]" is memory
// whose rows are named by index. The kernels check nothing: shapes and indices have been checked by TypeScript and
// again by the binding. `rows` are rows of the step, of any number of sequences.
#pragma once

#include <cstdint>

namespace megamoe::attention {

struct RopeParams {                      // interleaved rotation of the last ropeDim of each head, in place
  std::int64_t rows, heads, d, ropeDim;  // ropeDim even, at most d
  float* x;                              // [rows, heads, d]
  const float *cos, *sin;                // [rows, ropeDim/2]
  bool inverse;                          // turn back
};

struct WriteWindowParams {  // window[to[r]] = kv[r]
  std::int64_t rows, d;
  const float* kv;         // [rows, d]
  const std::int32_t* to;  // [rows]
  float* window;           // [*, d]
};

struct CompressParams {  // projections of every row are kept, then full windows become entries
  std::int64_t rows, width;
  const float *kv, *gate;                // [rows, width]
  const float* ape;                      // [ratio, width]
  const std::int32_t *apeRow, *openRow;  // [rows]
  float *openKv, *openGate;              // [*, width]; gates have ape added
  std::int64_t closed;                   // windows that become full
  std::int64_t candidatesPerEntry;       // at most kMaxCandidates
  // [closed, candidatesPerEntry] rows of the open memory, earliest first; -1 weighs nothing. With width = 2*dim windows
  // overlap: the first half of the candidates goes by the first half of its channels, the second by the second.
  const std::int32_t* candidates;
  std::int64_t dim, ropeDim;
  const float* norm;  // [dim]
  float rmsNormEps;
  const float *cos, *sin;        // [closed, ropeDim/2], of the windows' first positions
  const std::int32_t* entryRow;  // [closed]
  float* entries;                // [*, dim]
};

// Top entries by sum_h w_h * heads^-0.5 * relu(q_h . k) * dim^-0.5, ties to the lowest index. Row r sees visible[r]
// entries; entry w is row w % pageRows of page pageIds[pageBase[r] + w / pageRows].
struct IndexSelectParams {
  std::int64_t rows, heads, dim, topk;
  const float* q;                          // [rows, heads, dim]
  const float* headWeights;                // [rows, heads]
  const std::int32_t *visible, *pageBase;  // [rows]
  const std::int32_t* pageIds;
  std::int64_t pageRows;
  const float* entries;    // [*, pageRows, dim]
  std::int32_t* selected;  // [rows, topk] ascending, padded with -1
};

// Memory rows that each row of the step reads: count[r] of them, from index[start[r]] on.
struct RowLists {
  const std::int32_t *index, *start, *count;
};

struct AttendParams {  // gathered attention, K = V, window keys and then entries, sinks in the denominator only
  std::int64_t rows, heads, d;
  const float* q;        // [rows, heads, d]
  const float* window;   // [*, d]
  RowLists near;         // rows of window
  const float* entries;  // [*, d]
  RowLists far;          // rows of entries
  const float* sinks;    // [heads], may be -Infinity and +Infinity
  float softmaxScale;
  float* out;  // [rows, heads, d]
};

constexpr std::int64_t kMaxCandidates = 128;  // of a compressed entry: 128 (HCA), 2*4 (CSA)
constexpr std::int64_t kKeyBlock = 32;  // keys folded together into the running softmax; part of the numeric contract

}  // namespace megamoe::attention
