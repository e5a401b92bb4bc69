// The passes read what they say, on every instruction set of this machine, and every measurement is a rate.
#include "../ceilings/ceilings.h"

#include <megamoe/test.h>

#include <cmath>
#include <cstring>
#include <vector>

using namespace megamoe::ceilings;

namespace {

// 4096 bytes aligned to 64.
struct Block {
  alignas(64) std::uint64_t words[512];
};

void passesReadEveryByte() {
  static Block block;
  std::uint64_t expected = 0;
  for (std::uint64_t i = 0; i < 512; i++) expected += block.words[i] = i * 0x9e3779b97f4a7c15u;
  for (const Passes* p : availablePasses()) {
    CHECK(p->read(reinterpret_cast<const std::uint8_t*>(block.words), sizeof block.words) == expected);
    CHECK(p->read(reinterpret_cast<const std::uint8_t*>(block.words), 0) == 0);
  }
}

void maxFindsTheLargestWhereverItIs() {
  alignas(64) static float x[48];
  for (const Passes* p : availablePasses())
    for (int at = 0; at < 48; at++)
      for (const int n : {16, 32, 48}) {
        for (float& v : x) v = -2.0f;
        x[at] = -1.0f;
        CHECK(p->max(x, n) == (at < n ? -1.0f : -2.0f));
      }
}

void measurementsAreRates() {
  for (const int threads : {1, 2})
    for (int kind = 0; kind < kKinds; kind++) {
      const double rate = measure(static_cast<Kind>(kind), threads, 100000, 1 << 20);
      const bool has =
          kind < 3 || kind == static_cast<int>(Kind::fma) || availablePasses().front()->vpdpbusd.run != nullptr;
      CHECK(has ? std::isfinite(rate) && rate > 0 : rate < 0);
    }
  // A span that is smaller than the amount, larger than before, and no multiple of anything.
  CHECK(measure(Kind::read, 2, 5000, 700) > 0);
  CHECK(measure(Kind::copy, 1, 3000001, (1 << 21) + 1) > 0);
}

}  // namespace

int main() {
  passesReadEveryByte();
  maxFindsTheLargestWhereverItIs();
  measurementsAreRates();
  return megamoe::test::finish();
}
