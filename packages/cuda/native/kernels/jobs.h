// Rows of experts, cut into tiles: the host never knows how many rows an expert has.
#pragma once

#include "launch.h"

namespace megamoe::cuda {

struct Job {
  std::int32_t expert, row0, rows;  // no rows: nothing to do
};

// Most jobs of at most `tile` rows that `slots` rows of `experts` experts can make.
constexpr std::int64_t mostJobs(std::int64_t slots, std::int64_t experts, std::int64_t tile) {
  const std::int64_t whole = slots / tile + experts;
  return slots < whole ? slots : whole;
}

// Writes all `most` jobs. Ends that are none are reported and give no jobs; so is an alpha [experts*parts] (or null)
// that is not finite, for an expert that has rows.
void planJobs(const Launch& l, const std::int32_t* ends, std::int64_t experts, std::int64_t slots, int tile,
              const float* alpha, std::int64_t parts, Job* jobs, std::int64_t most);

// Rows x [rows, groups] as those of `groups` experts: slot g*rows + r holds row r*groups + g. All experts have `scale`.
void groupRows(const Launch& l, std::int64_t rows, std::int64_t groups, float scale, std::int32_t* slotRow,
               std::int32_t* ends, float* scales);

}  // namespace megamoe::cuda
