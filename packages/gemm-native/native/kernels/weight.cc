#include "weight.h"

#include <megamoe/thread_pool.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "huge_pages.h"

namespace megamoe::gemm {

namespace {

// Kernels load one superblock ahead of the one that they use.
constexpr std::size_t kReadAhead = nvfp4::kSuperblockBytes;

}  // namespace

Weight::Weight(Format format, std::int64_t matrices, std::int64_t n, std::int64_t k)
    : format(format),
      matrices(matrices),
      n(n),
      k(k),
      matrixBytes(bytesOfMatrix(format, n, k)),
      bytes(matrices * matrixBytes) {
  const std::size_t size = static_cast<std::size_t>(bytes) + kReadAhead;
  data_ = static_cast<std::uint8_t*>(::operator new(size, blockAlignment(static_cast<std::size_t>(bytes))));
  adviseHugePages(data_, size);
  std::memset(data_ + bytes, 0, kReadAhead);
  const bool isPadded = format == Format::nvfp4
                            ? n % kPanel != 0 || k % nvfp4::kSuperblock != 0
                            : n % kDenseRows != 0 || k * denseElementBytes(format) % kDenseLine != 0 ||
                                  (format == Format::fp8 && k % kDenseChunk != 0);
  if (isPadded) std::memset(data_, 0, static_cast<std::size_t>(bytes));
}

Weight::~Weight() { ::operator delete(data_, blockAlignment(static_cast<std::size_t>(bytes))); }

void putNvfp4(Weight& w, std::int64_t matrix, std::int64_t row0, std::int64_t rows, const std::uint8_t* codes,
              const std::uint8_t* sf, int threads) {
  const std::int64_t kSf = w.k / kBlock;
  // Threads write different bytes, in places of one cache line at a panel's edge: slower there, but no race.
  parallelFor(rows, threads, 1 + 65536 / w.k, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; r++) {
      const std::int64_t column = (row0 + r) % kPanel, half = column / 16, lane = 4 * (column % 16);
      std::uint8_t* superblock = w.panel(matrix, (row0 + r) / kPanel);
      const std::uint8_t* src = codes + r * (w.k / 2);
      for (std::int64_t b = 0; b < kSf; b++, src += 8) {
        const std::uint8_t scale = sf[r * kSf + b];
        const std::int64_t block = b % nvfp4::kBlocks;
        superblock[half * 64 + lane + block] = scale;
        for (int z = 0; z < 2; z++) {
          std::uint8_t* line = superblock + 128 + ((block * 2 + half) * 2 + z) * 64 + lane;
          for (int j = 0; j < 4; j++) {
            const int shift = (j & 1) * 4;
            const int low = (src[4 * z + j / 2] >> shift) & 15, high = (src[4 * z + 2 + j / 2] >> shift) & 15;
            line[j] = scale == 0 ? 0 : static_cast<std::uint8_t>(low | (high << 4));
          }
        }
        if (block == nvfp4::kBlocks - 1) superblock += nvfp4::kSuperblockBytes;
      }
    }
  });
}

void putDense(Weight& w, std::int64_t matrix, std::int64_t row0, std::int64_t rows, const void* data) {
  const std::int64_t size = denseElementBytes(w.format), rowBytes = w.k * size;
  for (std::int64_t r = 0; r < rows; r++) {
    const std::uint8_t* src = static_cast<const std::uint8_t*>(data) + r * rowBytes;
    for (std::int64_t k0 = 0, at = 0; k0 < w.k; k0 += kDenseChunk) {
      std::uint8_t* line = const_cast<std::uint8_t*>(w.denseRow(matrix, row0 + r, k0));
      const std::int64_t end = std::min(rowBytes, at + kDenseChunk * size);
      for (; at < end; at += kDenseLine, line += kDenseRows * kDenseLine)
        std::memcpy(line, src + at, static_cast<std::size_t>(std::min(kDenseLine, rowBytes - at)));
    }
  }
}

void putFp8(Weight& w, std::int64_t matrix, std::int64_t row0, std::int64_t rows, const std::uint8_t* codes,
            const float* scales, int threads) {
  const std::int64_t k = w.k, tiles = (k + kFp8Tile - 1) / kFp8Tile;
  parallelFor(rows, threads, 1 + 65536 / k, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; r++) {
      for (std::int64_t k0 = 0; k0 < k; k0 += kDenseChunk) {
        const std::int64_t tile = k0 / kFp8Tile;
        std::memcpy(const_cast<std::uint8_t*>(w.denseScales(matrix, row0 + r, k0)), scales + r * tiles + tile,
                    static_cast<std::size_t>(std::min(kFp8Scales, tiles - tile)) * sizeof(float));
        std::uint8_t* line = const_cast<std::uint8_t*>(w.denseRow(matrix, row0 + r, k0));
        for (std::int64_t at = k0; at < std::min(k, k0 + kDenseChunk);
             at += kDenseLine, line += kDenseRows * kDenseLine)
          for (std::int64_t i = 0; i < std::min(kDenseLine, k - at); i++) line[i] = packFp8(codes[r * k + at + i]);
      }
    }
  });
}

}  // namespace megamoe::gemm
