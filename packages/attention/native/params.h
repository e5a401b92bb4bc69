// Arguments of the attention kernels. Every pointer says its shape; "[*, W]" is an array of rows of which row0.. are
// used. The kernels check nothing: shapes, indices and positions have been checked by TypeScript and again by the
// binding.
#pragma once

#include <cstdint>

namespace attention {

struct RopeParams {              // interleaved rotation of the last ropeDim of each head, in place
  int64_t m, heads, d, ropeDim;  // ropeDim even, at most d
  float* x;                      // [M, heads, d]
  const float *cos, *sin;        // [M, ropeDim/2]
  bool inverse;                  // turn back
};

struct CompressParams {  // tokens p0..p0+n appended to the open window; full windows become entries
  int64_t row0, n, p0;
  int64_t ratio, dim, width;  // width = 2*dim: windows overlap. At most kMaxCandidates candidates an entry
  const float *kv, *gate;     // [*, width]
  const float *ape, *norm;    // [ratio, width], [dim]
  float rmsNormEps;
  int64_t ropeDim;
  const float *cos, *sin;          // [closed windows, ropeDim/2], of their first positions
  float* entries;                  // [cap, dim]
  float *partialKv, *partialGate;  // [ratio, width]; gates have ape added
  float *overlapKv, *overlapGate;  // [ratio, dim], first half of the last closed window; unused without overlap
};

struct IndexSelectParams {  // top entries by sum_h w_h * heads^-0.5 * relu(q_h . k) * dim^-0.5, ties to the lowest
                            // index
  int64_t row0, n, p0;
  int64_t ratio, dim, heads, topk;
  const float* entries;      // [cap, dim]
  const float* q;            // [*, heads, dim]
  const float* headWeights;  // [*, heads]
  int32_t* selected;         // [n, topk] ascending, padded with -1
};

struct AttendParams {  // gathered attention, K = V, sinks in the denominator only
  int64_t row0, n, heads, d;
  int64_t ringCap, keyCap;
  const float* ring;        // [ringCap, d]
  const float* entries;     // [cap, d], key index ringCap + w
  const float* q;           // [*, heads, d]
  const int32_t* keyIndex;  // [n, keyCap]
  const int32_t* keyCount;  // [n]
  const float* sinks;       // [heads], may be -Infinity and +Infinity
  float softmaxScale;
  float* out;         // [*, heads, d]
  int64_t headBlock;  // heads that share one pass over the keys; set by runAttend, never changes a result
  float* halves;      // set by runAttend: null, or where to keep what each half of the keys gives
};

constexpr int64_t kMaxCandidates = 128;  // of a compressed entry: 128 (HCA), 2*4 (CSA)
constexpr int64_t kKeyBlock = 32;        // keys folded together into the running softmax; part of the numeric contract
constexpr int64_t kSelectPad = 16;       // of the buffers of selectTop

}  // namespace attention
