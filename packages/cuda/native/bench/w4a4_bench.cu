// Gate and up of one layer of DeepSeek-V4-Flash: 256 experts of 4096 x 4096, 6 a token, for steps of 1 to 16384 tokens.
// Experts are drawn anew for each step, so that weights come from memory and not from the L2 cache. The floor of a step
// is the larger of the bytes of its experts over the read rate, and its operations over 700 TFLOP/s; both are of this
// device, the read rate of this run. Every step's result is compared with the contract on 400 outputs.
#include <megamoe/codecs.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "../device/device.h"
#include "../device/read.cuh"
#include "../kernels/packed.cuh"
#include "../kernels/packed.h"
#include "../kernels/w4a4.h"

using namespace megamoe;
using namespace megamoe::cuda;

namespace {

constexpr std::int64_t kExperts = 256, kN = 4096, kK = 4096, kTopk = 6;
constexpr double kPeak = 700e12;

__global__ void fillKernel(std::uint32_t* p, std::size_t words, bool scales) {
  for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < words;
       i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
    std::uint32_t v = static_cast<std::uint32_t>(i) * 2654435761u ^ 0x9e3779b9u;
    v ^= v >> 15, v *= 2246822519u, v ^= v >> 13, v *= 3266489917u, v ^= v >> 16;
    // Of a packed superblock the last 16 words are scales: none 0, none above 448.
    p[i] = scales ? v & 0x77777777u : i % 144 >= 128 ? (v & 0x7f7f7f7fu) | 0x08080808u : v;
  }
}

// Median of some runs of `work`, in milliseconds; `between` runs before each, untimed.
template <class Between, class Work>
float timeOf(cudaStream_t stream, int runs, Between between, Work work) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < runs + 2; i++) {
    between(i);
    cudaEventRecord(begin, stream);
    work(i);
    cudaEventRecord(end, stream);
    check(cudaEventSynchronize(end), "kernel");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    if (i >= 2) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

struct Step {
  std::vector<std::int32_t> ends;
  std::int64_t active;
};

Step draw(std::mt19937& r, std::int64_t tokens) {
  std::vector<std::int32_t> counts(kExperts);
  for (std::int64_t t = 0; t < tokens; t++) {
    std::vector<std::int64_t> chosen;
    while (chosen.size() < kTopk) {
      const std::int64_t e = r() % kExperts;
      if (std::find(chosen.begin(), chosen.end(), e) == chosen.end()) chosen.push_back(e);
    }
    for (const std::int64_t e : chosen) counts[e]++;
  }
  Step step;
  step.active = kExperts - std::count(counts.begin(), counts.end(), 0);
  step.ends.resize(kExperts);
  std::partial_sum(counts.begin(), counts.end(), step.ends.begin());
  return step;
}

template <class T>
std::vector<T> get(Device& d, const T* from, std::size_t n) {
  std::vector<T> out(n);
  d.download(out.data(), from, n * sizeof(T));
  return out;
}

// Outputs of 400 that are not the contract's.
int wrong(Device& d, std::mt19937& r, const std::uint8_t* packed, const Step& step, const std::uint8_t* codes,
          const std::uint8_t* sf, const float* out) {
  int bad = 0;
  const std::int64_t rows = step.ends.back();
  for (int q = 0; q < 20; q++) {
    const std::int64_t row = r() % rows;
    const std::int64_t e = std::upper_bound(step.ends.begin(), step.ends.end(), row) - step.ends.begin();
    const auto a = get(d, codes + row * kK / 2, kK / 2), as = get(d, sf + row * kK / 16, kK / 16);
    const auto got = get(d, out + row * kN, kN);
    for (int c = 0; c < 20; c++) {
      const std::int64_t n = r() % kN, tile = e * (kN / 16) + n / 16;
      const auto w = get(d, packed + tile * (kK / 64) * kSuperblockBytes, kK / 64 * kSuperblockBytes);
      float acc = 0.f;
      for (std::int64_t b = 0; b < kK / 16; b++) {
        const std::uint8_t* superblock = w.data() + b / 4 * kSuperblockBytes;
        int dot = 0;
        for (int k = 0; k < 16; k++) {
          const PackedPlace place = placeOf(static_cast<int>(n % 16), k);
          std::uint32_t word;
          std::memcpy(&word, superblock + place.lane * 16 + b % 4 * 4, 4);
          const unsigned byte = a[b * 8 + k / 2];
          dot += kE2m1Doubled[codeOf(word, place.j, place.h)] * kE2m1Doubled[k & 1 ? byte >> 4 : byte & 15];
        }
        const int scale = superblock[scalePlace(static_cast<int>(n % 16), static_cast<int>(b % 4))];
        const float scales = decodeE4m3(as[b]) * std::ldexp(1.f + (scale & 7) / 8.f, (scale >> 3) - 10);
        acc = acc + static_cast<float>(dot) * .25f * scales;
      }
      const float want = 1e-3f * acc;
      bad += std::memcmp(&want, &got[n], 4) != 0;
    }
  }
  return bad;
}

}  // namespace

int main(int argc, char** argv) {
  Device d(0);
  const std::int64_t most = argc > 1 ? std::atoll(argv[1]) : 16384;
  const std::int64_t least = argc > 2 ? std::atoll(argv[2]) : 1;
  const Launch l = d.launch(0);
  constexpr std::int64_t kWeightBytes = kExperts * kN * kK / 16 * 9;
  auto* packed = static_cast<std::uint8_t*>(d.allocate(kWeightBytes));
  fillKernel<<<1056, 512, 0, l.stream>>>(reinterpret_cast<std::uint32_t*>(packed), kWeightBytes / 4, false);
  auto* sink = static_cast<uint4*>(d.allocate(16));
  const float readMs = timeOf(
      l.stream, 9, [](int) {},
      [&](int) {
    readKernel<<<132 * 16, 512, 0, l.stream>>>(reinterpret_cast<const uint4*>(packed), kWeightBytes / 16, sink);
      });
  const double rate = kWeightBytes / (readMs * 1e-3);
  std::printf("read %.2f TB/s\n", rate / 1e12);
  std::vector<float> alpha(kExperts, 1e-3f);
  auto* deviceAlpha = static_cast<float*>(d.allocate(kExperts * 4));
  d.upload(deviceAlpha, alpha.data(), kExperts * 4);
  std::mt19937 r(7);
  for (const std::int64_t tokens : {1, 2, 4, 8, 16, 64, 256, 512, 1024, 2048, 4096, 16384}) {
    if (tokens > most) break;
    const std::int64_t slots = tokens * kTopk;
    auto* codes = static_cast<std::uint8_t*>(d.allocate(slots * kK / 2));
    auto* sf = static_cast<std::uint8_t*>(d.allocate(slots * kK / 16));
    auto* out = static_cast<float*>(d.allocate(slots * kN * 4));
    auto* ends = static_cast<std::int32_t*>(d.allocate(kExperts * 4));
    fillKernel<<<1056, 512, 0, l.stream>>>(reinterpret_cast<std::uint32_t*>(codes), slots * kK / 8, false);
    fillKernel<<<1056, 512, 0, l.stream>>>(reinterpret_cast<std::uint32_t*>(sf), slots * kK / 64, true);
    W4A4Params p = {};
    p.w = {Format::packed, kExperts, kN, kK, packed, nullptr};
    p.codes = codes, p.sf = sf, p.alpha = deviceAlpha, p.parts = 1, p.groups = 1, p.m = slots, p.out = out;
    const auto chosen = chooseW4A4(true, slots, kExperts);
    std::vector<std::pair<W4A4Choice, W4A4Math>> tried = {{chosen, W4A4Math::fast}};
    for (const W4A4Choice c : {W4A4Choice{W4A4Kernel::rows8, 8}, W4A4Choice{W4A4Kernel::rows32, 32},
                               W4A4Choice{W4A4Kernel::rows64, 64}, W4A4Choice{W4A4Kernel::rows128, 128}})
      tried.emplace_back(c, W4A4Math::exact);
    for (const auto& [choice, sums] : tried) {
      const W4A4Choice c = choice;
      const W4A4Math math = sums;
      const bool isChosen = c.kernel == chosen.kernel;
      const std::int64_t each = slots / kExperts;
      if (!isChosen && (c.rows > 4 * each || c.rows * 4 < each)) continue;
      if (tokens < least) continue;
      Step step;
      std::vector<double> floors;  // a step has as many experts as it drew
      const auto prepare = [&](int) {
        step = draw(r, tokens);
        d.upload(ends, step.ends.data(), kExperts * 4);
        floors.push_back(std::max(step.active * kN * kK / 16. * 9 / rate, 2. * slots * kN * kK / kPeak) * 1e3);
      };
      const float all =
          timeOf(l.stream, tokens > 2000 ? 5 : 9, prepare, [&](int) { w4a4Tiles(l, p, c, math, ends, slots); });
      d.launched("w4a4");
      std::sort(floors.begin(), floors.end());
      const double floorMs = floors[floors.size() / 2];
      const int bad = wrong(d, r, packed, step, codes, sf, out);
      std::printf("tokens %6lld rows %3d%s%s: %.4f ms, floor %.4f, %.2f of it, %.0f TFLOP/s, %d of 400 differ\n",
                  static_cast<long long>(tokens), c.rows, isChosen ? " *" : "  ", math == W4A4Math::fast ? " fast" : "",
                  all, floorMs, all / floorMs, 2. * slots * kN * kK / (all * 1e9), bad);
    }
    d.release(codes), d.release(sf), d.release(out), d.release(ends);
  }
  return 0;
}
