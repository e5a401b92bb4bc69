// NVFP4 weights in the order in which tensor cores take them. A superblock is 16 rows of 64 k: 512 bytes of codes in
// fragment order of mma.sync.m16n8k16, 16 bytes a lane, and 64 bytes of scales, 4 a row (packed.cuh). Superblocks of a
// tile of 16 rows follow each other along k, tiles follow each other, matrices follow each other. The same bytes in all
// as linear.
#pragma once

#include "weight.h"

namespace megamoe::cuda {

constexpr std::int64_t kTileColumns = 16;  // rows of a weight, columns of a product
constexpr std::int64_t kSuperblockK = 64;
constexpr std::int64_t kSuperblockBytes = 576;

// Whether weights [*, n, k] can be packed; others stay linear and go through the plain kernel.
constexpr bool isPackable(std::int64_t n, std::int64_t k) { return n % kTileColumns == 0 && k % kSuperblockK == 0; }

// Rows [row0, row0 + rows) of all matrices, both multiples of 16, from linear codes [rows, k/2] and sf [rows, k/16].
void packRows(const Launch& l, const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t row0,
              std::int64_t rows, std::uint8_t* packed);

}  // namespace megamoe::cuda
