// How fast a GPU reads its memory is measured with this.
#pragma once

#include <cstddef>

namespace megamoe::cuda {

// Plain loads: they put whatever else lies in the L2 cache out, which loads that ask to be put out first would not.
__global__ static void readKernel(const uint4* p, std::size_t n, uint4* out) {
  uint4 a = make_uint4(0, 0, 0, 0);
  for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < n;
       i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
    const uint4 v = p[i];
    a.x ^= v.x, a.y ^= v.y, a.z ^= v.z, a.w ^= v.w;
  }
  if ((a.x ^ a.y ^ a.z ^ a.w) == 0x12345u) *out = a;
}

}  // namespace megamoe::cuda
