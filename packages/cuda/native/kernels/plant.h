// Mistakes for the judge to find, in a build for tests only (cmake -DMEGAMOE_PLANT=ON): MEGAMOE_PLANT in the
// environment names one when a kernel is launched. In every other build there is no such variable and `planted` is a
// constant.
#pragma once

namespace megamoe::cuda {

enum class Plant : int {
  none,
  neighbourScale,  // packing: every block of weights gets the scale of the one beside it
  swappedNibbles,  // staging: the two codes of a byte change places
  borderExpert,    // W4A4 on tensor cores: an expert's first row goes to the one before it
  noAlpha,         // W4A4 on tensor cores: alpha is 1
  noSink,          // attention: no sink in the denominator
  rawWeights,      // routing: weights are not normalised
  cutKeys,         // keys of the window are cut to BF16, not rounded
};

#ifdef MEGAMOE_PLANT
// The one that the environment names; ends the process for a name that is none.
Plant plantedNow();
#else
constexpr Plant plantedNow() { return Plant::none; }
#endif

}  // namespace megamoe::cuda
