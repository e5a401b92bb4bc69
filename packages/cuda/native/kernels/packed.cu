#include "packed.h"

#include "device.cuh"
#include "packed.cuh"

namespace megamoe::cuda {

namespace {

constexpr int kWords = static_cast<int>(kSuperblockBytes / 4);

// A thread a word.
__global__ void packKernel(const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t tile0,
                           std::int64_t superblocks, std::uint8_t* packed, const Report report) {
  const std::int64_t at = blockIdx.x * std::int64_t{256} + threadIdx.x, s = at / kWords;
  if (s >= superblocks) return;
  const int w = static_cast<int>(at % kWords);
  const std::int64_t kb = k / kSuperblockK, tile = s / kb, b = s % kb;
  std::uint32_t word = 0;
  if (w < 128) {
    const int lane = w / 4, i = w % 4, g = lane / 4, t = lane % 4;
    for (int j = 0; j < 4; j++) {
      const std::int64_t row = tile * kTileColumns + g + 8 * (j & 1), block = b * 4 + i;
      if ((sf[row * (k / 16) + block] & 0x7fu) == 0) continue;  // packScale: the codes of a scale of 0 are 0
      for (int h = 0; h < 2; h++) {
        const int at = t + 8 * (j / 2) + 4 * h;
        const unsigned byte = codes[row * (k / 2) + block * 8 + at / 2];
        const std::uint32_t code = at % 2 == 0 ? byte & 15u : byte >> 4;
        word |= (code >> 3) << (signBit(j) + 16 * h) | (code & 7u) << (valueBit(j) + 16 * h);
      }
    }
  } else {
    const std::int64_t row = tile * kTileColumns + (w - 128) / 2 + 8 * (w & 1);
    const std::uint8_t* from = sf + row * (k / 16) + b * 4;
    for (int i = 0; i < 4; i++)
      word |= packScale(from[report.planted(Plant::neighbourScale) ? i ^ 1 : i] & 0x7fu) << (8 * i);
  }
  reinterpret_cast<std::uint32_t*>(packed + (tile0 * kb + s) * kSuperblockBytes)[w] = word;
}

}  // namespace

void packRows(const Launch& l, const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t row0,
              std::int64_t rows, std::uint8_t* packed) {
  const std::int64_t superblocks = rows / kTileColumns * (k / kSuperblockK);
  packKernel<<<static_cast<unsigned>(ceilDiv(superblocks * kWords, 256)), 256, 0, l.stream>>>(
      codes, sf, k, row0 / kTileColumns, superblocks, packed, Report(l));
}

}  // namespace megamoe::cuda
