// One rotary pair.
#pragma once

#include <cstdint>

namespace megamoe::cuda {

struct Turn {
  float cos, sin;
};

// The angle f32(position * frequency), its cosine and sine in float64 and rounded once.
__device__ __forceinline__ Turn turnOf(std::int32_t position, float frequency) {
  const double angle = static_cast<float>(static_cast<double>(position) * frequency);
  return {static_cast<float>(cos(angle)), static_cast<float>(sin(angle))};
}

// (e, o) -> (e*c - o*s, o*c + e*s), every product and sum rounded: no contraction is compiled in.
__device__ __forceinline__ void rotate(float* pair, float c, float s) {
  const float e = pair[0], o = pair[1];
  pair[0] = e * c - o * s;
  pair[1] = o * c + e * s;
}

}  // namespace megamoe::cuda
