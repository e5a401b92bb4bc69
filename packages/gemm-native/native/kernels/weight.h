// Packed weights: one block of memory for a stack of matrices [matrices][n, k] (groups of a linear, or experts).
//
// f32, bf16: row-major, as they came.
// nvfp4: panels of 32 output rows ("columns" of the product), so that one vector lane is one output. For each panel, kSf blocks
// in ascending k of 288 bytes: 8 lines of 32 code bytes, line j holding k = j in the low nibble and k = j + 8 in the high one, then the
// 32 E4M3 scales. A last panel that is not full is padded with zero codes and scales.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

namespace megamoe::gemm {

enum class Format : int { f32 = 0, bf16 = 1, nvfp4 = 2 };

constexpr std::int64_t kPanel = 32;       // output rows in a panel
constexpr std::int64_t kBlock = 16;       // k in an NVFP4 block
constexpr std::int64_t kBlockCodes = 256; // bytes of codes of one panel block
constexpr std::int64_t kBlockBytes = kBlockCodes + kPanel;

class Weight {
 public:
  // Throws std::bad_alloc. k is a multiple of 16 for nvfp4.
  Weight(Format format, std::int64_t matrices, std::int64_t n, std::int64_t k)
      : format(format), matrices(matrices), n(n), k(k), matrixBytes(bytesOfMatrix(format, n, k)), bytes(matrices * matrixBytes) {
    data_ = static_cast<std::uint8_t*>(::operator new(static_cast<std::size_t>(bytes), kAlignment));
    if (format == Format::nvfp4 && n % kPanel != 0) zeroLastPanels();
  }
  ~Weight() { ::operator delete(data_, kAlignment); }
  Weight(const Weight&) = delete;
  Weight& operator=(const Weight&) = delete;

  static std::int64_t bytesOfMatrix(Format format, std::int64_t n, std::int64_t k) {
    if (format == Format::f32) return n * k * 4;
    if (format == Format::bf16) return n * k * 2;
    return panelsOf(n) * (k / kBlock) * kBlockBytes;
  }
  static std::int64_t panelsOf(std::int64_t n) { return (n + kPanel - 1) / kPanel; }

  std::int64_t panels() const { return panelsOf(n); }
  std::uint8_t* matrix(std::int64_t i) { return data_ + i * matrixBytes; }
  const std::uint8_t* matrix(std::int64_t i) const { return data_ + i * matrixBytes; }
  // First block of a panel of an nvfp4 matrix.
  const std::uint8_t* panel(std::int64_t matrixIndex, std::int64_t p) const {
    return matrix(matrixIndex) + p * (k / kBlock) * kBlockBytes;
  }

  const Format format;
  const std::int64_t matrices, n, k, matrixBytes, bytes;

 private:
  static constexpr std::align_val_t kAlignment{64};  // a cache line, and the widest vector

  void zeroLastPanels() {
    const std::int64_t panelBytes = (k / kBlock) * kBlockBytes;
    for (std::int64_t i = 0; i < matrices; i++)
      std::memset(matrix(i) + (panels() - 1) * panelBytes, 0, static_cast<std::size_t>(panelBytes));
  }

  std::uint8_t* data_ = nullptr;
};

// Copies `rows` rows to row0 of a matrix; source row-major codes [rows, k/2] (even k in the low nibble) and sf [rows, k/16].
void putNvfp4(Weight& w, std::int64_t matrix, std::int64_t row0, std::int64_t rows, const std::uint8_t* codes,
              const std::uint8_t* sf, int threads);

// Copies `rows` rows of f32 or bf16 to row0 of a matrix.
void putDense(Weight& w, std::int64_t matrix, std::int64_t row0, std::int64_t rows, const void* data);

}  // namespace megamoe::gemm
