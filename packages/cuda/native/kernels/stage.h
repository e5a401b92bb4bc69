// Rows in slot order, made what grouped products take: float32, or NVFP4 by ModelOpt's rule, byte for byte as on the
// CPU.
#pragma once

#include "launch.h"

namespace megamoe::cuda {

// Smallest global scale for which `blockScale * globalDecodeScale` is a normal float32 for every block scale.
constexpr float kMinGlobalScale = 0x1p-117f;

struct StageRows {
  const std::int32_t* ends;  // [experts]
  std::int64_t experts, slots;
  // stage: rows of x [below, k], row slotToken[r] or (null) r.
  const float* x;
  std::int64_t below;
  const std::int32_t* slotToken;
  // swigluStage: gateUp [slots, 2*k].
  const float* gateUp;
  float limit;
  std::int64_t k;
};

// out [slots, k] f32.
void stageFloat(const Launch& l, const StageRows& rows, float* out);

// codes [slots, k/2], sf [slots, k/16]; globalScale [experts], or null: each row's own, to rowScale [slots].
void stageNvfp4(const Launch& l, const StageRows& rows, const float* globalScale, std::uint8_t* codes, std::uint8_t* sf,
                float* rowScale);

}  // namespace megamoe::cuda
