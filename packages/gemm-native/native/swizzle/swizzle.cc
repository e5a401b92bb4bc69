// A 16-byte piece of a tile is one word (4 columns) of each of the rows r, r+32, r+64 and r+96, so transposing words of
// those four rows gives the pieces of row r in neighbouring tiles; rows r to r+3 together make whole 64-byte lines.
// Compiled without instruction-set flags: it decides what may run.
#include "swizzle.h"

#include <megamoe/cpu_features.h>
#include <megamoe/thread_pool.h>

#include <algorithm>
#include <cstring>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#endif

namespace megamoe::gemm {

namespace {

constexpr std::int64_t kBytesPerThread = std::int64_t{256} << 10;  // worth waking a thread

// Columns [c, kSf) of a band of which `valid` rows are there: word by word, padding with zeros.
void paddedColumns(const std::uint8_t* sf, std::int64_t valid, std::int64_t kSf, std::int64_t c, std::uint8_t* out) {
  for (; c < kSf; c += kTileColumns) {
    const std::size_t width = static_cast<std::size_t>(std::min(kSf - c, kTileColumns));
    std::uint8_t* tile = out + c / kTileColumns * kTileBytes;
    std::memset(tile, 0, kTileBytes);
    for (std::int64_t row = 0; row < valid; row++)
      std::memcpy(tile + row % kGroupRows * 16 + row / kGroupRows * 4, sf + row * kSf + c, width);
  }
}

// Stores past the caches are ordered with the others before another thread is told that they are done.
void fence() {
#if defined(__SSE2__) || defined(_M_X64)
  _mm_sfence();
#endif
}

}  // namespace

const std::vector<const BandKernel*>& bandKernels() {
  static const std::vector<const BandKernel*> kernels = [] {
    std::vector<const BandKernel*> found;
#if defined(MEGAMOE_SWIZZLE_X86)
    if (cpuFeatures().avx512f) found.push_back(&kAvx512Bands);
#endif
    found.push_back(&kPortableBands);
    return found;
  }();
  return kernels;
}

void swizzle128x4(const std::uint8_t* sf, std::int64_t rows, std::int64_t kSf, std::uint8_t* out, int threads,
                  const BandKernel& kernel) {
  if (rows == 0 || kSf == 0) return;
  const std::int64_t bands = (rows + kTileRows - 1) / kTileRows, bandBytes = swizzledBytes(kTileRows, kSf);
  // The start of a cache line.
  const std::int64_t past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(out) % kLineBytes);
  const bool pieces = past % kPieceBytes == 0;
  const bool stream = pieces && bands * bandBytes >= kStreamFrom;
  const std::int64_t shift = pieces ? (kLineBytes - past) % kLineBytes / kPieceBytes : 0;
  const auto whole = [&](const BandKernel& k, const Band& band, std::int64_t c) {
    const std::int64_t end = kSf / k.columns * k.columns;
    if (c < end) (stream ? k.streamed : k.cached)(band, c, end);
    return std::max(c, end);
  };
  parallelFor(bands, threads, kBytesPerThread / bandBytes + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; b++) {
      const std::int64_t valid = std::min(rows - b * kTileRows, kTileRows);
      const std::uint8_t* from = sf + b * kTileRows * kSf;
      std::int64_t done = 0;  // columns
      if (valid == kTileRows) {
        const bool more = rows >= (b + 2) * kTileRows;
        const Band band{from, kSf, more ? from + kTileRows * kSf : nullptr, out + b * bandBytes, shift};
        done = whole(kPortableBands, band, whole(kernel, band, 0));
      }
      paddedColumns(from, valid, kSf, done, out + b * bandBytes);
    }
    if (stream) fence();
  });
}

}  // namespace megamoe::gemm
