// Pages of 2 MiB for memory that is walked through: over pages of 4 KiB a stream spends much of its time on address
// translation, and the first touch of each is a fault.
#pragma once

#include <cstddef>
#include <new>

namespace megamoe::gemm {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Asks for them, for as much of [data, data + bytes) as is made of whole ones. Advice only: a system without them
// refuses it.
void adviseHugePages(void* data, std::size_t bytes);

// Alignment of a block of so many bytes: cache lines (and the widest vector), or huge pages where one is filled.
inline std::align_val_t blockAlignment(std::size_t bytes) {
  return std::align_val_t{bytes >= kHugePage ? kHugePage : 64};
}

}  // namespace megamoe::gemm
