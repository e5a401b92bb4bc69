// Reading files for what follows at once: a copy to a device. Free of CUDA and of Node.
#pragma once

#include <cstdint>

namespace megamoe::cuda {

// Whether there is such a thing as pread here; readFile throws elsewhere.
bool canReadFiles();

// Reads bytes [position, position + bytes) of an open file to `to`, several parts of them at once: one reader alone
// gets a fraction of what a disk, or memory that holds the file already, gives. Answers how many bytes are there
// without a gap from `position` on: fewer than asked for where the file ends. Throws std::runtime_error that says what
// the system refused.
std::int64_t readFile(int file, void* to, std::int64_t bytes, std::int64_t position);

}  // namespace megamoe::cuda
