// The instruction sets that kernels are written for. A name stands for the same set in every package, whether its
// kernels use all of it or not.
#pragma once

#include <vector>

#include "cpu_features.h"

namespace megamoe {

struct Isa {
  const char* name;
  bool (*runsOn)(const CpuFeatures&);
};

namespace isa {

inline constexpr Isa kGeneric = {"generic", [](const CpuFeatures&) { return true; }};
inline constexpr Isa kAvx2 = {"avx2", [](const CpuFeatures& f) { return f.avx2 && f.fma && f.f16c; }};
inline constexpr Isa kAvx512 = {"avx512", [](const CpuFeatures& f) {
                                  return kAvx2.runsOn(f) && f.avx512f && f.avx512bw && f.avx512dq && f.avx512vl &&
                                         f.avx512vnni && f.avx512vbmi && f.avx512bf16;
                                }};
inline constexpr Isa kNeon = {"neon", [](const CpuFeatures& f) { return f.neon; }};
inline constexpr Isa kNeonDotprod = {"neon-dotprod", [](const CpuFeatures& f) { return f.neon && f.dotprod; }};

}  // namespace isa

// A package's kernels for one set. `table` is called only where the set runs, so it may be compiled with its flags.
template <class Table>
struct IsaKernels {
  Isa isa;
  Table (*table)();
};

// The tables of `sets`, which are named best first, that run on a processor with these features. Table has a member
// `isa` for the name.
template <class Table>
std::vector<Table> tablesFor(const CpuFeatures& features, const std::vector<IsaKernels<Table>>& sets) {
  std::vector<Table> tables;
  for (const IsaKernels<Table>& set : sets) {
    if (!set.isa.runsOn(features)) continue;
    tables.push_back(set.table());
    tables.back().isa = set.isa.name;
  }
  return tables;
}

}  // namespace megamoe
