// Experts of each token, and the order of their rows.
#pragma once

#include "launch.h"

namespace megamoe::cuda {

enum class Scoring : int { sqrtsoftplus = 0, softmax = 1, sigmoid = 2 };

// Most experts of a router: their scores lie in shared memory.
constexpr std::int64_t kMostExperts = 8192;

struct RouteParams {
  std::int64_t numExperts, topk;
  Scoring scoring;
  bool normalise;
  float factor;
  const float* logits;  // [rows, numExperts]
  std::int64_t rows;
  const float* bias;             // [numExperts] or null
  const std::int32_t* tokenIds;  // [rows], or null: by score
  const std::int32_t* tid2eid;   // [vocab, topk], or null
  std::int64_t vocab;
  std::int32_t* topkIds;  // [rows, topk]
  float* topkWeights;     // [rows, topk]
};

// The best by score + bias, ties to the lowest id, or those that the table names; the rules of @megamoe/moe-router.
void route(const Launch& l, const RouteParams& p);

// Rows sorted by (expert, token), stable: ends [numExperts], slotToken [rows*topk] (-1 past the last), tokenSlots
// [rows, topk] (-1 for masked ones).
void assignSlots(const Launch& l, const std::int32_t* topkIds, std::int64_t rows, std::int64_t topk,
                 std::int64_t numExperts, std::int32_t* ends, std::int32_t* slotToken, std::int32_t* tokenSlots);

}  // namespace megamoe::cuda
