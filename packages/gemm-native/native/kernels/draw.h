// The few of a vocabulary that a draw may give. The caller decides between them with the exponential and the logarithm
// of its own language, so that every engine draws the same token; here only losers are told, with bounds that no
// rounding reaches. Every instruction set compiles this for itself; the compiler makes vectors of the loops over a
// piece.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "scan.h"

namespace megamoe::gemm {

constexpr std::int64_t kDrawPiece = 64;   // tokens looked at together
constexpr std::int64_t kDrawWords = 256;  // random words made together
constexpr double kNearly = 1 - 1e-9;      // less than one by more than rounding: what is nearly good enough counts

// words[i]: the random word of token 4*block + i. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
#if defined(__AVX2__)

namespace {  // each instruction set has its own

// Of eight products of 32-bit words, those of even lanes and those of odd ones.
struct Products {
  __m256i even, odd;
  Products(__m256i a, __m256i m) : even(_mm256_mul_epu32(a, m)), odd(_mm256_mul_epu32(_mm256_srli_epi64(a, 32), m)) {}
  __m256i low() const { return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa); }
  __m256i high() const { return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa); }
};

}  // namespace

static inline void philoxWords(std::uint32_t block, const Draw& draw, std::uint32_t* words) {
  const auto splat = [](std::uint32_t v) { return _mm256_set1_epi32(static_cast<std::int32_t>(v)); };
  const auto save = [](std::uint32_t* to, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v); };
  const __m256i m0 = splat(0xd2511f53u), m1 = splat(0xcd9e8d57u), eight = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (std::uint32_t b = 0; b < kDrawWords / 4; b += 8, words += 32) {
    __m256i c0 = _mm256_add_epi32(splat(block + b), eight), c1 = splat(draw.position), c2 = splat(draw.sequence);
    __m256i c3 = _mm256_setzero_si256(), key0 = splat(draw.key0), key1 = splat(draw.key1);
    for (int round = 0; round < 10; round++) {
      const Products p0(c0, m0), p1(c2, m1);
      c0 = _mm256_xor_si256(_mm256_xor_si256(p1.high(), c1), key0);
      c1 = p1.low();
      c2 = _mm256_xor_si256(_mm256_xor_si256(p0.high(), c3), key1);
      c3 = p0.low();
      key0 = _mm256_add_epi32(key0, splat(0x9e3779b9u));
      key1 = _mm256_add_epi32(key1, splat(0xbb67ae85u));
    }
    // The four words of a block stand together.
    const __m256i a = _mm256_unpacklo_epi32(c0, c1), b1 = _mm256_unpacklo_epi32(c2, c3);
    const __m256i c = _mm256_unpackhi_epi32(c0, c1), d = _mm256_unpackhi_epi32(c2, c3);
    const __m256i b04 = _mm256_unpacklo_epi64(a, b1), b15 = _mm256_unpackhi_epi64(a, b1);
    const __m256i b26 = _mm256_unpacklo_epi64(c, d), b37 = _mm256_unpackhi_epi64(c, d);
    save(words, _mm256_permute2x128_si256(b04, b15, 0x20));
    save(words + 8, _mm256_permute2x128_si256(b26, b37, 0x20));
    save(words + 16, _mm256_permute2x128_si256(b04, b15, 0x31));
    save(words + 24, _mm256_permute2x128_si256(b26, b37, 0x31));
  }
}

#else

// The ten rounds of a block are unrolled, and the blocks so many, that the compiler makes vectors of the loop over
// them.
static inline void philoxWords(std::uint32_t block, const Draw& draw, std::uint32_t* words) {
  constexpr std::int64_t kBlocks = kDrawWords / 4;
  std::uint32_t w0[kBlocks], w1[kBlocks], w2[kBlocks], w3[kBlocks];
  for (std::int64_t b = 0; b < kBlocks; b++) {
    std::uint32_t c0 = block + static_cast<std::uint32_t>(b), c1 = draw.position, c2 = draw.sequence, c3 = 0;
    std::uint32_t key0 = draw.key0, key1 = draw.key1;
    for (int round = 0; round < 10; round++) {
      const std::uint64_t product0 = std::uint64_t{0xd2511f53u} * c0, product1 = std::uint64_t{0xcd9e8d57u} * c2;
      c0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ key0;
      c1 = static_cast<std::uint32_t>(product1);
      c2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ key1;
      c3 = static_cast<std::uint32_t>(product0);
      key0 += 0x9e3779b9u;
      key1 += 0xbb67ae85u;
    }
    w0[b] = c0;
    w1[b] = c1;
    w2[b] = c2;
    w3[b] = c3;
  }
  for (std::int64_t b = 0; b < kBlocks; b++) {
    words[4 * b] = w0[b];
    words[4 * b + 1] = w1[b];
    words[4 * b + 2] = w2[b];
    words[4 * b + 3] = w3[b];
  }
}

#endif

// 1 - u of a random word, exact: q = -log(u) is at least that, and at most (1 - u) / u.
static inline double restOf(std::uint32_t word) {
  return (2147483647.5 - static_cast<double>(static_cast<std::int32_t>(word ^ 0x80000000u))) * 0x1p-32;
}

// What p / q is at least, a little too low.
static inline double leastScore(double p, double rest) { return p * (1 - rest) / rest * kNearly; }

// `best`: what argmax says.
static inline std::int64_t mayWin(const float* x, std::int64_t n, std::int64_t best, float temperature,
                                  const Draw& draw, std::int64_t capacity, std::int32_t* ids, float* values) {
  if (best < 0) return -1;
  const float most = x[best] / temperature;
  if (!(most - most == 0)) return -1;  // NaN for both infinities
  std::uint32_t made[kDrawWords];
  double y[kDrawPiece], rest[kDrawPiece];
  philoxWords(static_cast<std::uint32_t>(best / 4), draw, made);
  double score = leastScore(1, restOf(made[best % 4]));  // of the likeliest; later of the best so far
  std::int64_t count = 0;
  for (std::int64_t at = 0; at < n; at += kDrawPiece) {
    const std::int64_t size = n - at < kDrawPiece ? n - at : kDrawPiece;
    if (at % kDrawWords == 0) philoxWords(static_cast<std::uint32_t>(at / 4), draw, made);
    const std::uint32_t* words = made + at % kDrawWords;
    for (std::int64_t i = 0; i < size; i++) {
      const float scaled = x[at + i] / temperature;
      y[i] = static_cast<double>(most) - static_cast<double>(scaled);
    }
    std::int64_t left = 0;  // that exp(-y) <= 1 / (1 + y + y^2/2 + y^3/6) does not tell
    for (std::int64_t i = 0; i < size; i++) {
      rest[i] = restOf(words[i]);
      const double v = y[i], bound = score * rest[i] * (1 + v * (1 + v * (0.5 + v * (1. / 6))));
      left += bound <= 1 + 1e-8 ? 1 : 0;
    }
    if (left == 0) continue;
    for (std::int64_t i = 0; i < size; i++) {
      const double v = y[i];
      if (score * rest[i] * (1 + v * (1 + v * (0.5 + v * (1. / 6)))) > 1 + 1e-8) continue;
      const double p = std::exp(-v);
      if (p < score * rest[i] * kNearly) continue;
      if (count < capacity) {
        ids[count] = static_cast<std::int32_t>(at + i);
        values[count] = x[at + i];
      }
      count++;
      const double least = leastScore(p, rest[i]);
      score = least > score ? least : score;
    }
  }
  return count;
}

}  // namespace megamoe::gemm
