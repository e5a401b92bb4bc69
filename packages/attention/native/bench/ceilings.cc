#include "ceilings.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET(features) __attribute__((target(features), noinline))
#else
#define TARGET(features)
#endif

namespace bench {
namespace {

constexpr int kSums = 12;  // independent sums: more than the latency of a multiply-add times two a cycle

// A loop that the compiler can neither shorten nor keep out of registers.
#define SPIN(Vector, set1, fma)                                   \
  Vector sums[kSums];                                             \
  for (int i = 0; i < kSums; i++) sums[i] = set1(float(i));       \
  const Vector x = set1(0.999f), y = set1(0.001f);                \
  for (std::int64_t r = 0; r < rounds; r++) {                     \
    for (int i = 0; i < kSums; i++) sums[i] = fma(sums[i], x, y); \
  }                                                               \
  for (int i = 1; i < kSums; i++) sums[0] = fma(sums[i], x, sums[0]);

#if defined(__x86_64__)
TARGET("avx512f") double spin512(std::int64_t rounds) {
  SPIN(__m512, _mm512_set1_ps, _mm512_fmadd_ps)
  return static_cast<double>(_mm512_cvtss_f32(sums[0]));
}

TARGET("avx2,fma") double spin256(std::int64_t rounds) {
  SPIN(__m256, _mm256_set1_ps, _mm256_fmadd_ps)
  return static_cast<double>(_mm256_cvtss_f32(sums[0]));
}

TARGET("avx2") float read256(const float* p, std::int64_t n) {
  __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
  for (std::int64_t i = 0; i < n; i += 32) {
    a = _mm256_xor_ps(a, _mm256_loadu_ps(p + i));
    b = _mm256_xor_ps(b, _mm256_loadu_ps(p + i + 8));
    c = _mm256_xor_ps(c, _mm256_loadu_ps(p + i + 16));
    d = _mm256_xor_ps(d, _mm256_loadu_ps(p + i + 24));
  }
  return _mm256_cvtss_f32(_mm256_xor_ps(_mm256_xor_ps(a, b), _mm256_xor_ps(c, d)));
}
#endif

float mulAdd(float a, float b, float c) { return a * b + c; }
float same(float x) { return x; }

double spin32(std::int64_t rounds) {
  SPIN(float, same, mulAdd)
  return static_cast<double>(sums[0]);
}

}  // namespace

double spinFma(const std::string& isa, std::int64_t rounds) {
#if defined(__x86_64__)
  if (isa == "avx512") return spin512(rounds);
  if (isa == "avx2") return spin256(rounds);
#endif
  return spin32(rounds);
}

double flopsPerRound(const std::string& isa) {
  const double lanes = isa == "avx512" ? 16 : isa == "avx2" ? 8 : 1;
  return 2 * lanes * kSums;
}

float readAll(const float* p, std::int64_t n) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return read256(p, n);
#endif
  float sum = 0;
  for (std::int64_t i = 0; i < n; i++) sum += p[i];
  return sum;
}

}  // namespace bench
