// Speed of the swizzle in cache as fractions of memcpy of the same bytes, measured beside it. On the processors that
// this was written on, memcpy of this size is a string instruction, which writes whole lines without fetching them; a
// loop of loads and stores fetches the lines of its output too, and reaches 0.75 when it does nothing else.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "../swizzle/swizzle.h"

using namespace megamoe::gemm;

namespace {

constexpr std::int64_t kBytes = 256 << 10;  // with the output half of a second-level cache

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Line {
  alignas(64) std::uint64_t words[8];
};

struct Buffer {
  explicit Buffer(std::int64_t shift)
      : lines(kBytes / 64 + 1), at(reinterpret_cast<std::uint8_t*>(lines.data()) + shift) {}
  std::vector<Line> lines;
  std::uint8_t* at;  // typed arrays begin 16 bytes past a line
};

// Seconds of a run, undisturbed: the lower quartile.
template <class F>
double secondsOf(F&& run) {
  constexpr int kCalls = 8, kSamples = 101;
  std::vector<double> samples;
  for (int s = 0; s < kSamples; s++) {
    run();
    const double start = now();
    for (int i = 0; i < kCalls; i++) run();
    samples.push_back((now() - start) / kCalls);
  }
  std::nth_element(samples.begin(), samples.begin() + kSamples / 4, samples.end());
  return samples[kSamples / 4];
}

void swizzles(const BandKernel& kernel) {
  for (const std::int64_t kSf : {64, 128, 256, 512})
    for (const int shift : {0, 16}) {
      Buffer in(shift), out(shift);
      const double copy = secondsOf([&] { std::memcpy(out.at, in.at, kBytes); });
      const double own = secondsOf([&] { swizzle128x4(in.at, kBytes / kSf, kSf, out.at, 1, kernel); });
      std::printf("%-8s kSf=%-4ld %2d bytes past a line     %.2f of %.0f GB/s\n", kernel.isa, static_cast<long>(kSf),
                  shift, copy / own, kBytes / copy / 1e9);
    }
}

}  // namespace

int main() {
  for (const BandKernel* kernel : bandKernels()) swizzles(*kernel);
}
