// What the lanes of AVX2 and AVX-512 have in common. Compiled with flags, so in an anonymous namespace.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace megamoe::attention::simd {
namespace {

struct X86 {
  static float squareRoot(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }
  static std::int64_t countBits(unsigned bits) { return _mm_popcnt_u32(bits); }

  // Asks for the cache line of p.
  static void prefetch(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

  // to[j][i] = from[i][j] for 8 x 8.
  static void transpose8(const float* from, std::int64_t fromRow, float* to, std::int64_t toRow) {
    __m256 x[8], y[8];
    for (int i = 0; i < 8; i++) x[i] = _mm256_loadu_ps(from + i * fromRow);
    for (int i = 0; i < 4; i++) {
      y[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
      y[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
      x[4 * i] = _mm256_shuffle_ps(y[4 * i], y[4 * i + 2], 0x44);
      x[4 * i + 1] = _mm256_shuffle_ps(y[4 * i], y[4 * i + 2], 0xee);
      x[4 * i + 2] = _mm256_shuffle_ps(y[4 * i + 1], y[4 * i + 3], 0x44);
      x[4 * i + 3] = _mm256_shuffle_ps(y[4 * i + 1], y[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
      _mm256_storeu_ps(to + i * toRow, _mm256_permute2f128_ps(x[i], x[i + 4], 0x20));
      _mm256_storeu_ps(to + (i + 4) * toRow, _mm256_permute2f128_ps(x[i], x[i + 4], 0x31));
    }
  }
};

}  // namespace
}  // namespace megamoe::attention::simd
