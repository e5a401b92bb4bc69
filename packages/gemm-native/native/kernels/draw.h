// The few of a vocabulary that a draw may give. The caller decides between them with the exponential and the logarithm
// of its own language, so that every engine draws the same token; here only losers are told, with bounds that no
// rounding reaches. Every instruction set compiles this for itself; the compiler makes vectors of the loops over a
// piece.
#pragma once

#include <cmath>
#include <cstdint>

#include "scan.h"

namespace megamoe::gemm {

constexpr std::int64_t kDrawPiece = 64;  // tokens looked at together
constexpr double kNearly = 1 - 1e-9;     // less than one by more than rounding: what is nearly good enough counts

// words[i]: the random words of tokens [4*block, 4*block + 4*count), count at most 16. Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3", 2011.
static inline void philoxWords(std::uint32_t block, std::int64_t count, const Draw& draw, std::uint32_t* words) {
  constexpr std::int64_t kMost = kDrawPiece / 4;
  std::uint32_t c0[kMost], c1[kMost], c2[kMost], c3[kMost];
  for (std::int64_t b = 0; b < kMost; b++) {
    c0[b] = block + static_cast<std::uint32_t>(b);
    c1[b] = draw.position;
    c2[b] = draw.sequence;
    c3[b] = 0;
  }
  std::uint32_t key0 = draw.key0, key1 = draw.key1;
  for (int round = 0; round < 10; round++) {
    for (std::int64_t b = 0; b < kMost; b++) {
      const std::uint64_t product0 = std::uint64_t{0xd2511f53u} * c0[b], product1 = std::uint64_t{0xcd9e8d57u} * c2[b];
      c0[b] = static_cast<std::uint32_t>(product1 >> 32) ^ c1[b] ^ key0;
      c1[b] = static_cast<std::uint32_t>(product1);
      c2[b] = static_cast<std::uint32_t>(product0 >> 32) ^ c3[b] ^ key1;
      c3[b] = static_cast<std::uint32_t>(product0);
    }
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  for (std::int64_t b = 0; b < count; b++) {
    words[4 * b] = c0[b];
    words[4 * b + 1] = c1[b];
    words[4 * b + 2] = c2[b];
    words[4 * b + 3] = c3[b];
  }
}

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
  std::uint32_t words[kDrawPiece];
  double y[kDrawPiece], rest[kDrawPiece];
  philoxWords(static_cast<std::uint32_t>(best / 4), 1, draw, words);
  double score = leastScore(1, restOf(words[best % 4]));  // of the likeliest; later of the best so far
  std::int64_t count = 0;
  for (std::int64_t at = 0; at < n; at += kDrawPiece) {
    const std::int64_t size = n - at < kDrawPiece ? n - at : kDrawPiece;
    philoxWords(static_cast<std::uint32_t>(at / 4), kDrawPiece / 4, draw, words);
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
