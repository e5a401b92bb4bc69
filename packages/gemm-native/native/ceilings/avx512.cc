// Compiled with AVX-512 F, BW, DQ, VL, VNNI and BF16; called only where the processor has them all.
#include <immintrin.h>

#include "passes.h"

namespace megamoe::ceilings::avx512 {

namespace {

constexpr int kLanes = 16;

std::uint64_t readPass(const std::uint8_t* p, std::int64_t bytes) {
  __m512i sum[8];
  for (__m512i& s : sum) s = _mm512_setzero_si512();
  for (std::int64_t i = 0; i < bytes; i += 512)
    for (int j = 0; j < 8; j++) sum[j] = _mm512_add_epi64(sum[j], _mm512_load_si512(p + i + 64 * j));
  for (int j = 1; j < 8; j++) sum[0] = _mm512_add_epi64(sum[0], sum[j]);
  std::uint64_t lanes[8];  // unsigned: the sum wraps, which _mm512_reduce_add_epi64 must not
  _mm512_storeu_si512(lanes, sum[0]);
  std::uint64_t total = 0;
  for (std::uint64_t lane : lanes) total += lane;
  return total;
}

float maxPass(const float* x, std::int64_t n) {
  __m512 a = _mm512_load_ps(x);
  __m512 b = a;
  std::int64_t i = 16;
  for (; i + 32 <= n; i += 32) {
    a = _mm512_max_ps(a, _mm512_load_ps(x + i));
    b = _mm512_max_ps(b, _mm512_load_ps(x + i + 16));
  }
  if (i < n) a = _mm512_max_ps(a, _mm512_load_ps(x + i));
  return _mm512_reduce_max_ps(_mm512_max_ps(a, b));
}

float vpdpbusdPeak(std::int64_t rounds) {
  __m512i acc[kAccumulators];
  for (__m512i& a : acc) a = _mm512_setzero_si512();
  const __m512i x = _mm512_set1_epi8(1);
  for (std::int64_t r = 0; r < rounds; r++)
    for (__m512i& a : acc) a = _mm512_dpbusd_epi32(a, x, x);
  for (int j = 1; j < kAccumulators; j++) acc[0] = _mm512_add_epi32(acc[0], acc[j]);
  return static_cast<float>(_mm512_reduce_add_epi32(acc[0]));
}

float vdpbf16psPeak(std::int64_t rounds) {
  __m512 acc[kAccumulators];
  for (__m512& a : acc) a = _mm512_setzero_ps();
  const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.5f));
  for (std::int64_t r = 0; r < rounds; r++)
    for (__m512& a : acc) a = _mm512_dpbf16_ps(a, x, x);
  for (int j = 1; j < kAccumulators; j++) acc[0] = _mm512_add_ps(acc[0], acc[j]);
  return _mm512_reduce_add_ps(acc[0]);
}

float fmaPeak(std::int64_t rounds) {
  __m512 acc[kAccumulators];
  for (__m512& a : acc) a = _mm512_setzero_ps();
  const __m512 x = _mm512_set1_ps(1.0f / 1024);
  for (std::int64_t r = 0; r < rounds; r++)
    for (__m512& a : acc) a = _mm512_fmadd_ps(x, x, a);
  for (int j = 1; j < kAccumulators; j++) acc[0] = _mm512_add_ps(acc[0], acc[j]);
  return _mm512_reduce_add_ps(acc[0]);
}

constexpr Passes passes() {
  Passes p;
  p.isa = "avx512";
  p.read = readPass;
  p.max = maxPass;
  p.vpdpbusd = {2.0 * 4 * kAccumulators * kLanes, vpdpbusdPeak};
  p.vdpbf16ps = {2.0 * 2 * kAccumulators * kLanes, vdpbf16psPeak};
  p.fma = {2.0 * kAccumulators * kLanes, fmaPeak};
  return p;
}

}  // namespace

const Passes kPasses = passes();

}  // namespace megamoe::ceilings::avx512
