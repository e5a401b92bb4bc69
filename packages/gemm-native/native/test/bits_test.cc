// The bits that are promised, as hashes of what seeded inputs give: every instruction set of every architecture must
// reproduce them. The constants were made on x86-64, where generic, avx2 and avx512 agree.
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>

#include "../swizzle/swizzle.h"
#include "support.h"

using namespace megamoe;
using namespace megamoe::gemm;
using namespace megamoe::gemm::test;

namespace {

// FNV-1a over 64-bit words, of 32-bit values.
class Hash {
 public:
  Hash& add(std::uint32_t v) {
    state_ = (state_ ^ v) * 0x100000001b3u;
    return *this;
  }
  Hash& add(const std::vector<float>& v) {
    for (const float x : v) add(floatToBits(x));
    return *this;
  }
  Hash& add(const std::vector<std::uint8_t>& v) {
    for (const std::uint8_t x : v) add(x);
    return *this;
  }
  std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0xcbf29ce484222325u;
};

void expectHash(const char* isa, const char* what, const Hash& hash, std::uint64_t want) {
  CHECK(hash.value() == want);
  if (hash.value() != want)
    std::printf("%s %s: 0x%016" PRIx64 ", expected 0x%016" PRIx64 "\n", isa, what, hash.value(), want);
}

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// Experts with 1, 0, 5, 2, 37 and 8 rows: every size of tile, in panels that end in the middle and k that is no
// multiple of 64.
struct Experts {
  static constexpr std::int64_t kExperts = 6, n = 78, k = 464, parts = 2, rows = 53;
  const std::vector<std::int32_t> offsets = {1, 1, 6, 8, 45, 53};
  std::vector<std::uint8_t> aCodes, aSf;
  std::vector<float> a, alpha, rowScale;
  Weight w{Format::nvfp4, kExperts, n, k};

  Experts() {
    Random random(2026);
    aCodes = random.bytes(rows * k / 2);
    aSf = random.bytes(rows * k / 16, 0x7e);
    for (std::uint8_t& b : aSf)
      if (random.below(16) == 0) b = static_cast<std::uint8_t>(random.below(9));  // zeros and subnormals
    a = random.floats(rows * k);
    for (float& x : a) x = std::ldexp(x, static_cast<int>(random.below(40)) - 20);
    alpha = random.floats(kExperts * parts);
    rowScale = random.floats(rows);
    for (std::int64_t e = 0; e < kExperts; e++) {
      const std::vector<std::uint8_t> codes = random.bytes(n * k / 2), sf = random.bytes(n * k / 16, 0x7e);
      putNvfp4(w, e, 0, n, codes.data(), sf.data(), 1);
    }
  }

  template <class Params>
  Params params(std::vector<float>& out) const {
    Params p{};
    p.w = &w;
    p.parts = parts;
    p.expertOffsets = offsets.data();
    p.alpha = alpha.data();
    p.out = out.data();
    return p;
  }
};

void products(const KernelTable& table, const Experts& e) {
  std::vector<float> out = poisoned(Experts::rows * Experts::n);
  Hash w4a4;
  for (const float* scale : {static_cast<const float*>(nullptr), e.rowScale.data()}) {
    auto p = e.params<GroupedW4A4Params>(out);
    p.aCodes = e.aCodes.data();
    p.aSf = e.aSf.data();
    p.rowScale = scale;
    table.groupedW4A4(p, 2);
    w4a4.add(out);
  }
  expectHash(table.isa, "W4A4", w4a4, 0x9b2a8ff23ca503fb);
  auto p = e.params<GroupedA16Params>(out);
  p.a = e.a.data();
  table.groupedW4A16({p}, 2);
  expectHash(table.isa, "W4A16", Hash().add(out), 0xedade6190662eb86);
  table.groupedBf16({p}, 2);
  expectHash(table.isa, "BF16 activations", Hash().add(out), 0x0a212c992f96d97e);
}

void staging(const KernelTable& table) {
  constexpr std::int64_t k = 2128, rows = 21;
  Random random(7);
  std::vector<float> x = random.floats(rows * k);
  for (std::int64_t b = 0; b < rows * k / 16; b++)  // blocks of very different size, zeros among them
    for (std::int64_t i = 0, e = random.below(60) - 30; i < 16; i++)
      x[size(b * 16 + i)] = e == 0 ? -0.f : std::ldexp(x[size(b * 16 + i)], static_cast<int>(e));
  for (std::int64_t i = 0; i < k; i++)
    x[size(i)] = static_cast<float>(random.below(97) - 48) / 8.f;  // midpoints between codes
  const std::int32_t offsets[] = {1, 8, 21};
  const float scales[] = {1.f, 0.003f, 1e-6f};
  Hash hash;
  for (const bool dynamic : {false, true}) {
    std::vector<std::uint8_t> codes(size(rows * k / 2), 0xcc), sf(size(rows * k / 16), 0xcc);
    std::vector<float> rowScale = poisoned(rows);
    StageParams p{};
    p.x = x.data();
    p.k = k;
    p.rows = rows;
    p.expertOffsets = offsets;
    p.experts = 3;
    p.globalDecodeScale = scales;
    p.rowScale = dynamic ? rowScale.data() : nullptr;
    p.codes = codes.data();
    p.sf = sf.data();
    CHECK(table.stage(p, 2) == -1);
    hash.add(codes).add(sf);
    if (dynamic) hash.add(rowScale);
  }
  expectHash(table.isa, "staging", hash, 0x3ed67d1ac2050c77);
}

void rowWise(const KernelTable& table) {
  constexpr std::int64_t m = 9, d = 1043, hc = 4;
  Random random(11);
  const std::vector<float> x = random.floats(m * hc * d), weight = random.floats(d),
                           mix = random.floats(m * (hc + hc * hc));
  std::vector<float> out = poisoned(m * d);
  table.rmsNorm({x.data(), m, d, weight.data(), 1e-6, out.data()}, 2);
  Hash hash;
  hash.add(out);
  std::vector<std::int32_t> slots;
  for (std::int64_t i = 0; i < m * 3; i++) slots.push_back(static_cast<std::int32_t>(random.below(m + 1) - 1));
  table.scatterExperts({x.data(), d, slots.data(), mix.data(), m, 3, out.data()}, 2);
  hash.add(out);
  table.addInPlace({out.data(), x.data(), m * d}, 2);
  hash.add(out);
  std::vector<float> streams = x;
  table.hcPost({streams.data(), out.data(), m, hc, d, mix.data(), mix.data() + m * hc}, 2);
  expectHash(table.isa, "rmsNorm, scatterExperts, addInPlace, hcPost", hash.add(streams), 0x5ea002d7e7c04bfa);
}

// Eight lanes and the same tree on AVX2 and NEON, so the same bits; the other sets add in an order of their own.
void dense(const KernelTable& table) {
  if (std::strncmp(table.isa, "neon", 4) != 0 && std::strcmp(table.isa, "avx2") != 0) return;
  constexpr std::int64_t n = 37, k = 1331, m = 7;
  Random random(13);
  const std::vector<float> x = random.floats(m * k), values = random.floats(n * k);
  std::vector<std::uint16_t> bits;
  for (const float v : values) bits.push_back(encodeBf16(v));
  Weight f32(Format::f32, 1, n, k), bf16(Format::bf16, 1, n, k);
  putDense(f32, 0, 0, n, values.data());
  putDense(bf16, 0, 0, n, bits.data());
  Hash hash;
  for (const Weight* w : {&f32, &bf16})
    for (const std::int64_t rows : {std::int64_t{1}, m}) {
      std::vector<float> out = poisoned(rows * n);
      table.linear({w, x.data(), rows, out.data()}, 2);
      hash.add(out);
    }
  expectHash(table.isa, "linear", hash, 0x7f362a5b57166496);
  std::vector<std::uint8_t> codes = random.bytes(n * k);
  for (std::uint8_t& c : codes)
    if ((c & 0x7f) == 0x7f) c = 0;  // no NaN
  Weight fp8(Format::fp8, 1, n, k);
  putFp8(fp8, 0, 0, n, codes.data(), random.floats(n * ((k + kFp8Tile - 1) / kFp8Tile)).data(), 1);
  std::vector<float> out = poisoned(m * n);
  table.linear({&fp8, x.data(), m, out.data()}, 2);
  expectHash(table.isa, "linear of FP8", Hash().add(out), 0x5812fea4e2c07d2d);
}

void swizzle() {
  constexpr std::int64_t rows = 300, kSf = 29;
  Random random(17);
  const std::vector<std::uint8_t> sf = random.bytes(rows * kSf);
  for (const BandKernel* kernel : bandKernels()) {
    std::vector<std::uint8_t> out(size(swizzledBytes(rows, kSf)), 0xcc);
    swizzle128x4(sf.data(), rows, kSf, out.data(), 2, *kernel);
    expectHash(kernel->isa, "swizzle", Hash().add(out), 0x3c3ddcf9b04963a5);
  }
}

}  // namespace

int main() {
  const Experts experts;
  std::printf("instruction sets:");
  for (const KernelTable& table : tables()) std::printf(" %s", table.isa);
  std::printf("\n");
  for (const KernelTable& table : tables()) {
    products(table, experts);
    staging(table);
    rowWise(table);
    dense(table);
  }
  swizzle();
  return megamoe::test::finish();
}
