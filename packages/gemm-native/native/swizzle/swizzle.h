// Block scales from row-major to the 128x4 tiles that Blackwell's block-scaled MMA reads.
#pragma once

#include <cstdint>
#include <vector>

#include "bands.h"

namespace megamoe::gemm {

// Bytes of the tiles of [rows, kSf], padded to whole ones.
constexpr std::int64_t swizzledBytes(std::int64_t rows, std::int64_t kSf) {
  return (rows + kTileRows - 1) / kTileRows * kTileRows * ((kSf + kTileColumns - 1) / kTileColumns * kTileColumns);
}

// Outputs of so many bytes are stored past the caches: larger than a core's own, so that they would leave it anyway
// before they are used.
constexpr std::int64_t kStreamFrom = std::int64_t{4} << 20;

// What this processor can run: the best first, portable last.
const std::vector<const BandKernel*>& bandKernels();

// out[(m/128)*(ceil(kSf/4)*512) + (k/4)*512 + (m%32)*16 + ((m%128)/32)*4 + k%4] = sf[m, k]; padding is zero.
// sf [rows, kSf], out [swizzledBytes(rows, kSf)]; they must not overlap.
void swizzle128x4(const std::uint8_t* sf, std::int64_t rows, std::int64_t kSf, std::uint8_t* out, int threads,
                  const BandKernel& kernel = *bandKernels().front());

}  // namespace megamoe::gemm
