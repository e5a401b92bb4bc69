// Kernels that are there for what they say about a device.
#pragma once

#include <cuda_runtime_api.h>

namespace megamoe::cuda {

// Whether this build has code for the current device.
bool hasCodeHere();

// A kernel that stops with a trap, after which the device is lost to this process.
void trapHere(cudaStream_t stream);

}  // namespace megamoe::cuda
