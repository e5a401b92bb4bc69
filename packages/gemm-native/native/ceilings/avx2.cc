// Compiled with AVX2 and FMA; called only where the processor has them.
#include <immintrin.h>

#include "passes.h"

namespace megamoe::ceilings::avx2 {

namespace {

constexpr int kLanes = 8;

std::uint64_t readPass(const std::uint8_t* p, std::int64_t bytes) {
  __m256i sum[8];
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  for (std::int64_t i = 0; i < bytes; i += 256)
    for (int j = 0; j < 8; j++)
      sum[j] = _mm256_add_epi64(sum[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(p + i + 32 * j)));
  for (int j = 1; j < 8; j++) sum[0] = _mm256_add_epi64(sum[0], sum[j]);
  alignas(32) std::uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum[0]);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

float maxPass(const float* x, std::int64_t n) {
  __m256 a = _mm256_load_ps(x);
  __m256 b = _mm256_load_ps(x + 8);
  for (std::int64_t i = 16; i < n; i += 16) {
    a = _mm256_max_ps(a, _mm256_load_ps(x + i));
    b = _mm256_max_ps(b, _mm256_load_ps(x + i + 8));
  }
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, _mm256_max_ps(a, b));
  float best = lanes[0];
  for (int j = 1; j < 8; j++) best = lanes[j] > best ? lanes[j] : best;
  return best;
}

float fmaPeak(std::int64_t rounds) {
  __m256 acc[kAccumulators];
  for (__m256& a : acc) a = _mm256_setzero_ps();
  const __m256 x = _mm256_set1_ps(1.0f / 1024);
  for (std::int64_t r = 0; r < rounds; r++)
    for (__m256& a : acc) a = _mm256_fmadd_ps(x, x, a);
  float sum = 0;
  for (const __m256& a : acc) sum += _mm256_cvtss_f32(a);
  return sum;
}

constexpr Passes passes() {
  Passes p;
  p.isa = "avx2";
  p.read = readPass;
  p.max = maxPass;
  p.fma = {2.0 * kAccumulators * kLanes, fmaPeak};
  return p;
}

}  // namespace

const Passes kPasses = passes();

}  // namespace megamoe::ceilings::avx2
