// Baseline instructions only: what the compiler makes of plain loops.
#include "passes.h"

namespace megamoe::ceilings::generic {

namespace {

constexpr int kLanes = 4;

std::uint64_t readPass(const std::uint8_t* p, std::int64_t bytes) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(p);
  std::uint64_t sum[8] = {};
  for (std::int64_t i = 0; i < bytes / 8; i += 8)
    for (int j = 0; j < 8; j++) sum[j] += words[i + j];
  std::uint64_t all = 0;
  for (const std::uint64_t s : sum) all += s;
  return all;
}

float maxPass(const float* x, std::int64_t n) {
  float best[16];
  for (int j = 0; j < 16; j++) best[j] = x[j];
  for (std::int64_t i = 16; i < n; i += 16)
    for (int j = 0; j < 16; j++) best[j] = x[i + j] > best[j] ? x[i + j] : best[j];
  for (int j = 1; j < 16; j++) best[0] = best[j] > best[0] ? best[j] : best[0];
  return best[0];
}

// A multiplication and an addition: without a fused instruction that is the peak.
float fmaPeak(std::int64_t rounds) {
  float acc[kAccumulators * kLanes];
  for (float& a : acc) a = 1.0f;
  const volatile float hidden = 1.0f / 1024;  // the compiler must not know the factor
  const float factor = hidden;
  for (std::int64_t r = 0; r < rounds; r++)
    for (float& a : acc) a = a * factor + factor;
  float sum = 0;
  for (const float a : acc) sum += a;
  return sum;
}

constexpr Passes passes() {
  Passes p;
  p.isa = "generic";
  p.read = readPass;
  p.max = maxPass;
  p.fma = {2.0 * kAccumulators * kLanes, fmaPeak};
  return p;
}

}  // namespace

const Passes kPasses = passes();

}  // namespace megamoe::ceilings::generic
