// What an instruction set provides for grouped products with NVFP4 weights, and what the driver in grouped.cc gives it.
//
// A product is computed panel by panel (32 columns, see weight.h) against all rows of one expert. Before that, the rows
// are packed into tiles of at most kTileRows rows, in a form of the instruction set's own: rows of K floats lie a power
// of two apart and would fall on the same cache sets. A K that is no multiple of 64 is padded with zero blocks, which
// add exactly nothing.
//
// Compiled with instruction-set flags as well: no inline functions but private ones here.
#pragma once

#include <cstdint>

namespace megamoe::gemm {
struct GroupedW4A4Params;
struct GroupedW4A16Params;
struct GroupedBf16Params;
struct StageParams;
}  // namespace megamoe::gemm

namespace megamoe::gemm::nvfp4 {

constexpr std::int64_t kTileRows = 8;
constexpr std::int64_t kSuperblock = 64;                  // k of a superblock
constexpr std::int64_t kBlocks = 4;                       // scales of a column in a superblock
constexpr std::int64_t kSuperblockBytes = 128 + 16 * 64;  // scales, then codes; 18 cache lines
constexpr std::int64_t kColumns = 32;

// Where the results of a panel go: out[r, c] = alpha[c] * (acc * rowFactor[r]), then * rowScale[r] when there is one.
struct PanelOut {
  const float* alpha;      // [32]
  const float* rowFactor;  // [rows] powers of two (or NaN), or null for 1
  const float* rowScale;   // [rows] or null
  float* out;              // row 0, first column of the panel
  std::int64_t stride;     // from row to row, in elements
  int columns;             // that exist, 1 to 32
};

struct PanelJob {
  const std::uint8_t* panel;
  std::int64_t superblocks;
  const std::uint8_t* tiles;  // packed rows
  std::int64_t rows;
  PanelOut out;
  void* scratch;  // scratchBytes(rows, superblocks), 64-byte aligned
};

// Rows in packed form take rowBytes for each superblock. `Params` are those of the operation that the kernels compute.
struct W4A4Kernels {
  using Params = GroupedW4A4Params;
  std::int64_t rowBytes;
  std::int64_t (*scratchBytes)(std::int64_t rows, std::int64_t superblocks);
  // `rows` (at most kTileRows) rows of codes [*, k/2] and scales [*, k/16], of an expert that has groupRows.
  void (*packTile)(const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t rows,
                   std::int64_t groupRows, std::uint8_t* tile);
  void (*panel)(const PanelJob& job);
};

// The same for float32 rows.
template <class Operation>
struct A16Kernels {
  using Params = Operation;
  std::int64_t rowBytes;
  std::int64_t (*scratchBytes)(std::int64_t rows, std::int64_t superblocks);
  // Also writes the rowFactor of each row.
  void (*packTile)(const float* a, std::int64_t k, std::int64_t rows, std::int64_t groupRows, std::uint8_t* tile,
                   float* rowFactor);
  void (*panel)(const PanelJob& job);
};
using W4A16Kernels = A16Kernels<GroupedW4A16Params>;
using Bf16Kernels = A16Kernels<GroupedBf16Params>;

// Activation staging, see GemmKernels.stageNvfp4.
struct StageKernels {
  using Params = StageParams;
  // Bits of the largest magnitude of n floats, n a multiple of 16: magnitudes order like integers, infinity and NaN on
  // top.
  std::uint32_t (*amaxBits)(const float* x, std::int64_t n);
  // Quantizes a row with global scale g; false (and unspecified output) when a value is not finite. `next` is the row
  // to be read after it, which may be fetched, or null.
  bool (*row)(const float* x, std::int64_t k, float g, std::uint8_t* codes, std::uint8_t* sf, const float* next);
  // One row of SwiGLU: n gates and n ups to n values.
  void (*swigluRow)(const float* gate, const float* up, std::int64_t n, float limit, float* out);
};

namespace {

// Rows of an expert are cut into tiles of nearly equal size: 9 rows are 5 and 4, because one row alone costs almost as
// much as 4.
[[maybe_unused]] inline std::int64_t tileCount(std::int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
[[maybe_unused]] inline std::int64_t tileStart(std::int64_t rows, std::int64_t tiles, std::int64_t i) {
  return rows * i / tiles;
}

// What a stage kernel reads after elements [i, i + n) of its row of k: as many of the same row, else the beginning of
// the next.
struct Coming {
  const float* at;
  std::int64_t n;  // 0: nothing
};

[[maybe_unused]] inline Coming comingAfter(const float* x, std::int64_t i, std::int64_t n, std::int64_t k,
                                           const float* next) {
  const std::int64_t left = k - i - n;
  if (left > 0) return {x + i + n, left < n ? left : n};
  return {next, next == nullptr ? 0 : n};
}

}  // namespace

}  // namespace megamoe::gemm::nvfp4
