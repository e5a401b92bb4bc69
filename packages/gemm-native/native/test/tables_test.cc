// Tables: what can be assigned to an entry, that none is empty, and what each set leaves to generic.
#include <megamoe/test_tables.h>

#include <string>

#include "../kernels/nvfp4/kernels.h"
#include "support.h"

using namespace megamoe::gemm;
using namespace megamoe::gemm::test;
using namespace megamoe::test;

namespace {

// A type of its own in front, so that every other follows a comma.
#define MEGAMOE_ENTRY(Result, name, Params) , decltype(KernelTable::name)
using All = Entries<const char * MEGAMOE_GEMM_OPERATIONS(MEGAMOE_ENTRY)>;
#undef MEGAMOE_ENTRY

#define MEGAMOE_ENTRY(Result, name, Params) +1
constexpr std::size_t kEntries = 1 MEGAMOE_GEMM_OPERATIONS(MEGAMOE_ENTRY);
#undef MEGAMOE_ENTRY

// A kernel fits the entry of its own operation and no other: `t.linear = linearBf16` does not compile.
static_assert(assignablePairs(All{}) == kEntries, "two operations have the same type");
static_assert(assignablePairs(Entries<decltype(KernelTable::linear), decltype(KernelTable::linear)>{}) == 4);

// The smaller tables, which are lists in the order of their members.
template <class Grouped>
constexpr std::size_t groupedPairs() {
  const auto [rowBytes, scratchBytes, packTile, panel] = Grouped{};
  return assignablePairs(typesOf(rowBytes, scratchBytes, packTile, panel));
}
constexpr std::size_t stagePairs() {
  const auto [amaxBits, row, swigluRow] = nvfp4::StageKernels{};
  return assignablePairs(typesOf(amaxBits, row, swigluRow));
}
constexpr std::size_t scanPairs() {
  const auto [firstNonFinite, argmax, top, atLeast, mayWin, massBefore] = ScanKernels{};
  return assignablePairs(typesOf(firstNonFinite, argmax, top, atLeast, mayWin, massBefore));
}
static_assert(groupedPairs<nvfp4::W4A4Kernels>() == 4);
static_assert(groupedPairs<nvfp4::A16Kernels<GroupedW4A16Params>>() == 4);
static_assert(stagePairs() == 3 && scanPairs() == 6);

// The operations whose entry is empty.
std::string missing(const KernelTable& t) {
  std::string names;
#define MEGAMOE_ENTRY(Result, name, Params) \
  if (t.name == nullptr) names += #name " ";
  MEGAMOE_GEMM_OPERATIONS(MEGAMOE_ENTRY)
#undef MEGAMOE_ENTRY
  return names;
}

// The operations that two tables do by the same kernel.
std::string shared(const KernelTable& a, const KernelTable& b) {
  std::string names;
#define MEGAMOE_ENTRY(Result, name, Params) \
  if (a.name == b.name) names += #name " ";
  MEGAMOE_GEMM_OPERATIONS(MEGAMOE_ENTRY)
#undef MEGAMOE_ENTRY
  return names;
}

}  // namespace

int main() {
  const KernelTable& generic = tables().back();
  CHECK(std::string(generic.isa) == "generic");
  for (const KernelTable& t : tables()) {
    CHECK(missing(t).empty());
    CHECK(t.scan.firstNonFinite != nullptr && t.scan.argmax != nullptr && t.scan.top != nullptr &&
          t.scan.atLeast != nullptr && t.scan.mayWin != nullptr && t.scan.massBefore != nullptr);
    if (&t == &generic) continue;
    CHECK(shared(t, generic) == "gatherRows embed ");
    CHECK(t.scan.firstNonFinite != generic.scan.firstNonFinite && t.scan.argmax != generic.scan.argmax &&
          t.scan.top != generic.scan.top && t.scan.atLeast != generic.scan.atLeast &&
          t.scan.mayWin != generic.scan.mayWin && t.scan.massBefore != generic.scan.massBefore);
  }
  return megamoe::test::finish();
}
