// Every kernel of this machine gives the rule's bytes, on odd shapes, past the caches and through them, at any
// alignment, padding zero, and nothing else is written.
#include "../swizzle/swizzle.h"

#include <megamoe/test.h>

#include <cstdint>
#include <cstring>
#include <vector>

using namespace megamoe::gemm;

namespace {

std::vector<std::uint8_t> scales(std::int64_t n) {
  std::vector<std::uint8_t> v(static_cast<std::size_t>(n));
  std::uint64_t state = 88172645463325252u;
  for (std::uint8_t& x : v) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    x = static_cast<std::uint8_t>(state >> 56);
  }
  return v;
}

std::vector<std::uint8_t> rule(const std::vector<std::uint8_t>& sf, std::int64_t rows, std::int64_t kSf) {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(swizzledBytes(rows, kSf)));
  for (std::int64_t m = 0; m < rows; m++)
    for (std::int64_t k = 0; k < kSf; k++)
      out[static_cast<std::size_t>(m / 128 * ((kSf + 3) / 4 * 512) + k / 4 * 512 + m % 32 * 16 + m % 128 / 32 * 4 +
                                   k % 4)] = sf[static_cast<std::size_t>(m * kSf + k)];
  return out;
}

void isTheRule(std::int64_t rows, std::int64_t kSf) {
  const std::vector<std::uint8_t> sf = scales(rows * kSf), want = rule(sf, rows, kSf);
  const auto bytes = want.size();
  for (const BandKernel* kernel : bandKernels())
    for (const int threads : {1, 2, 3})
      for (const std::size_t shift :
           {std::size_t{0}, std::size_t{16}, std::size_t{32}, std::size_t{48}, std::size_t{5}}) {
        std::vector<std::uint8_t> buffer(bytes + 192, 0xcc);  // poisoned, and a guard on either side
        const std::size_t align = (64 - reinterpret_cast<std::uintptr_t>(buffer.data()) % 64) % 64;
        std::uint8_t* out = buffer.data() + align + shift;
        swizzle128x4(sf.data(), rows, kSf, out, threads, *kernel);
        CHECK(bytes == 0 || std::memcmp(out, want.data(), bytes) == 0);
        bool clean = true;
        for (std::size_t i = 0; i < buffer.size(); i++)
          if ((i < align + shift || i >= align + shift + bytes) && buffer[i] != 0xcc) clean = false;
        CHECK(clean);
      }
}

}  // namespace

int main() {
  for (const std::int64_t rows : {1, 31, 127, 128, 129, 256, 385})
    for (const std::int64_t kSf : {1, 4, 15, 16, 17, 63, 64, 65, 80, 132, 448}) isTheRule(rows, kSf);
  isTheRule(0, 64);
  isTheRule(64, 0);
  // Past the caches, with every kind of column, and a band that is not whole.
  isTheRule(kStreamFrom / 256 + 131, 256 + 17);
  CHECK(bandKernels().back() == &kPortableBands);
  return megamoe::test::finish();
}
