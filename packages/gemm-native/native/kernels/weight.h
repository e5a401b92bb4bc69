// Packed weights: one block of memory for a stack of matrices [matrices][n, k] (groups of a linear, or experts).
//
// f32, bf16: chunks of 1024 k, each with all rows in panels of 4, and a panel cut into lines of 64 bytes along k: line
// 0 of the four rows, line 1 of the four rows, and so on. A kernel that takes four rows at a time reads one stream,
// while the activations of a chunk stay in the first-level cache: with all of k they would share it with the stream, a
// fifth of the speed. Missing rows of the last panel, and what is behind k in the last line, are zeros. nvfp4: panels
// of 32 output rows ("columns" of the product), so that one 4-byte vector lane is one output. A panel is a row of
// superblocks of 64 k, each 1152 bytes = 18 cache lines:
//   2 lines of scales: line h is columns 16h..16h+15, lane c of it holds the E4M3 scales of blocks 0..3 as bytes 0..3;
//   16 lines of codes: for block b, half h, z = 0, 1: lane c, byte j holds k = 16b + 8z + j in the low nibble, 16b + 8z
//   + 4 + j in the high one.
// Scales come first because a kernel needs them early. Missing columns of the last panel and missing blocks of the last
// superblock (k not a multiple of 64) have zero codes and scales. Codes under a zero scale are stored as zeros: the
// value is the same, and a kernel may then form the scale by adding exponents, which turns no zero into a number as
// long as the dot product is zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nvfp4/kernels.h"

namespace megamoe::gemm {

enum class Format : int { f32 = 0, bf16 = 1, nvfp4 = 2, fp8 = 3 };

constexpr std::int64_t kPanel = nvfp4::kColumns;  // output rows in a panel
constexpr std::int64_t kBlock = 16;               // k in an NVFP4 block

constexpr std::int64_t kDenseRows = 4;                       // rows in a panel of f32, bf16 or fp8
constexpr std::int64_t kDenseLine = 64;                      // bytes that lie together
constexpr std::int64_t kDenseChunk = 1024;                   // k
constexpr std::int64_t kFp8Tile = 128;                       // k that share a scale of fp8
constexpr std::int64_t kFp8Scales = kDenseChunk / kFp8Tile;  // of a row in a chunk

// An E4M3 code as fp8 weights hold it, and back.
constexpr std::uint8_t packFp8(std::uint8_t code) {
  return static_cast<std::uint8_t>((code & 0x80) | (code & 0x0f) << 3 | (code >> 4 & 7));
}
constexpr std::uint8_t unpackFp8(std::uint8_t packed) {
  return static_cast<std::uint8_t>((packed & 0x80) | (packed >> 3 & 0x0f) | (packed & 7) << 4);
}

// Bytes of one element of a format that is no nvfp4.
constexpr std::int64_t denseElementBytes(Format format) {
  return format == Format::f32 ? 4 : format == Format::bf16 ? 2 : 1;
}

// Superblocks of 64 k in a row of k.
constexpr std::int64_t superblocksOf(std::int64_t k) { return (k + nvfp4::kSuperblock - 1) / nvfp4::kSuperblock; }

class Weight {
 public:
  // Throws std::bad_alloc. k is a multiple of 16 for nvfp4.
  Weight(Format format, std::int64_t matrices, std::int64_t n, std::int64_t k);
  ~Weight();
  Weight(const Weight&) = delete;
  Weight& operator=(const Weight&) = delete;

  static std::int64_t bytesOfMatrix(Format format, std::int64_t n, std::int64_t k) {
    if (format != Format::nvfp4) return (n + kDenseRows - 1) / kDenseRows * kDenseRows * denseRowBytes(format, k);
    return panelsOf(n) * superblocksOf(k) * nvfp4::kSuperblockBytes;
  }
  // Bytes of a row of k values in whole lines, with the scales of every chunk for fp8.
  static std::int64_t denseRowBytes(Format format, std::int64_t k) {
    const std::int64_t lines = (k * denseElementBytes(format) + kDenseLine - 1) / kDenseLine * kDenseLine;
    return lines + (k + kDenseChunk - 1) / kDenseChunk * denseScaleBytes(format);
  }
  // Bytes of the scales of a row in a chunk.
  static std::int64_t denseScaleBytes(Format format) { return format == Format::fp8 ? kFp8Scales * 4 : 0; }
  static std::int64_t panelsOf(std::int64_t n) { return (n + kPanel - 1) / kPanel; }

  std::int64_t panels() const { return panelsOf(n); }
  std::uint8_t* matrix(std::int64_t i) { return data_ + i * matrixBytes; }
  const std::uint8_t* matrix(std::int64_t i) const { return data_ + i * matrixBytes; }
  // First superblock of a panel of an nvfp4 matrix.
  std::uint8_t* panel(std::int64_t matrixIndex, std::int64_t p) {
    return matrix(matrixIndex) + p * superblocksOf(k) * nvfp4::kSuperblockBytes;
  }
  const std::uint8_t* panel(std::int64_t matrixIndex, std::int64_t p) const {
    return matrix(matrixIndex) + p * superblocksOf(k) * nvfp4::kSuperblockBytes;
  }

  // Panel of a row of a matrix that is no nvfp4, in the chunk that begins at k0: scales of four rows for fp8, then
  // lines.
  const std::uint8_t* densePanel(std::int64_t matrixIndex, std::int64_t row, std::int64_t k0) const {
    const std::int64_t rows = (n + kDenseRows - 1) / kDenseRows * kDenseRows, left = k - k0;
    const std::int64_t inChunk = denseRowBytes(format, left < kDenseChunk ? left : kDenseChunk);
    return matrix(matrixIndex) + rows * denseRowBytes(format, k0) + row / kDenseRows * kDenseRows * inChunk;
  }
  // First line of the row there; the next one is kDenseRows lines further.
  const std::uint8_t* denseRow(std::int64_t matrixIndex, std::int64_t row, std::int64_t k0) const {
    return densePanel(matrixIndex, row, k0) + kDenseRows * denseScaleBytes(format) + row % kDenseRows * kDenseLine;
  }
  // Scales of the row there, [kFp8Scales] float32; fp8 only.
  const std::uint8_t* denseScales(std::int64_t matrixIndex, std::int64_t row, std::int64_t k0) const {
    return densePanel(matrixIndex, row, k0) + row % kDenseRows * denseScaleBytes(format);
  }

  const Format format;
  const std::int64_t matrices, n, k, matrixBytes, bytes;

 private:
  std::uint8_t* data_ = nullptr;
};

// Copies `rows` rows to row0 of a matrix; source row-major codes [rows, k/2] (even k in the low nibble) and sf [rows,
// k/16].
void putNvfp4(Weight& w, std::int64_t matrix, std::int64_t row0, std::int64_t rows, const std::uint8_t* codes,
              const std::uint8_t* sf, int threads);

// Copies `rows` rows of f32 or bf16 to row0 of a matrix.
void putDense(Weight& w, std::int64_t matrix, std::int64_t row0, std::int64_t rows, const void* data);

// The same for fp8: E4M3 codes [rows, k], none NaN, and scales [rows, ceil(k/128)].
void putFp8(Weight& w, std::int64_t matrix, std::int64_t row0, std::int64_t rows, const std::uint8_t* codes,
            const float* scales, int threads);

}  // namespace megamoe::gemm
