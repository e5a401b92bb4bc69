#include "weight.h"

#include <megamoe/thread_pool.h>

namespace megamoe::gemm {

void putNvfp4(Weight& w, std::int64_t matrix, std::int64_t row0, std::int64_t rows, const std::uint8_t* codes,
              const std::uint8_t* sf, int threads) {
  const std::int64_t kSf = w.k / kBlock;
  std::uint8_t* const base = w.matrix(matrix);
  // Threads write different bytes, in places of one cache line at a panel's edge: slower there, but no race.
  parallelFor(rows, threads, 1 + 65536 / w.k, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; r++) {
      const std::int64_t row = row0 + r;
      std::uint8_t* block = base + (row / kPanel) * kSf * kBlockBytes;
      const std::int64_t c = row % kPanel;
      const std::uint8_t* src = codes + r * (w.k / 2);
      for (std::int64_t b = 0; b < kSf; b++, block += kBlockBytes, src += 8) {
        for (int j = 0; j < 8; j++) {
          const int shift = (j & 1) * 4;
          const int low = (src[j / 2] >> shift) & 15;
          const int high = (src[j / 2 + 4] >> shift) & 15;
          block[j * kPanel + c] = static_cast<std::uint8_t>(low | (high << 4));
        }
        block[kBlockCodes + c] = sf[r * kSf + b];
      }
    }
  });
}

void putDense(Weight& w, std::int64_t matrix, std::int64_t row0, std::int64_t rows, const void* data) {
  const std::int64_t rowBytes = w.k * (w.format == Format::f32 ? 4 : 2);
  std::memcpy(w.matrix(matrix) + row0 * rowBytes, data, static_cast<std::size_t>(rows * rowBytes));
}

}  // namespace megamoe::gemm
