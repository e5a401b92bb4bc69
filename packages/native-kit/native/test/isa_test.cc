// What each set needs, and that a machine is given all that its features allow, in the order of the list.
#include <megamoe/isa.h>
#include <megamoe/test.h>

#include <string>

using namespace megamoe;

namespace {

struct Table {
  const char* isa = nullptr;
  int made = 0;
};

template <int number>
Table make() {
  return {nullptr, number};
}

std::string namesFor(const CpuFeatures& f) {
  std::string names;
  int before = 6;
  for (const Table& t : tablesFor<Table>(f, {{isa::kAvx512, make<5>},
                                             {isa::kAvx2, make<4>},
                                             {isa::kNeonDotprod, make<3>},
                                             {isa::kNeon, make<2>},
                                             {isa::kGeneric, make<1>}})) {
    CHECK(t.made < before);
    before = t.made;
    names += std::string(t.isa) + " ";
  }
  return names;
}

void x86() {
  CpuFeatures f;
  CHECK(namesFor(f) == "generic ");
  bool* const narrow[] = {&f.avx2, &f.fma, &f.f16c};
  for (bool* feature : narrow) *feature = true;
  CHECK(namesFor(f) == "avx2 generic ");
  bool* const wide[] = {&f.avx512f, &f.avx512bw, &f.avx512vl, &f.avx512dq, &f.avx512vnni, &f.avx512vbmi, &f.avx512bf16};
  for (bool* feature : wide) *feature = true;
  CHECK(namesFor(f) == "avx512 avx2 generic ");
  for (bool* feature : wide) {
    *feature = false;
    CHECK(namesFor(f) == "avx2 generic ");
    *feature = true;
  }
  for (bool* feature : narrow) {
    *feature = false;
    CHECK(namesFor(f) == "generic ");
    *feature = true;
  }
}

void arm64() {
  CpuFeatures f;
  f.dotprod = true;
  CHECK(namesFor(f) == "generic ");
  f.neon = true;
  CHECK(namesFor(f) == "neon-dotprod neon generic ");
  f.dotprod = false;
  CHECK(namesFor(f) == "neon generic ");
}

}  // namespace

int main() {
  x86();
  arm64();
  return megamoe::test::finish();
}
