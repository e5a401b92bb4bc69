// Tables: what can be assigned to an entry, and that none is empty.
#include <megamoe/test.h>
#include <megamoe/test_tables.h>

#include <string>

#include "../kernels/dispatch.h"

using namespace megamoe::attention;
using megamoe::test::assignablePairs;
using megamoe::test::Entries;
using megamoe::test::typesOf;

namespace {

// A type of its own in front, so that every other follows a comma.
#define MEGAMOE_ENTRY(Result, name, Params) , decltype(KernelTable::name)
using Operations = Entries<const char * MEGAMOE_ATTENTION_OPERATIONS(MEGAMOE_ENTRY)>;
#undef MEGAMOE_ENTRY

#define MEGAMOE_ENTRY(Result, name, Params) +1
constexpr std::size_t kOperations = 1 MEGAMOE_ATTENTION_OPERATIONS(MEGAMOE_ENTRY);
#undef MEGAMOE_ENTRY

// A kernel fits the entry of its own operation and no other.
static_assert(assignablePairs(Operations{}) == kOperations, "two operations have the same type");

constexpr std::size_t assignableRangePairs() {
  const auto [rangeWork, rope, compressWindows, scoreScratch, indexScores, selectTop, attendSizes, attend, attendJoin] =
      RangeKernels{};
  return assignablePairs(
      typesOf(rangeWork, rope, compressWindows, scoreScratch, indexScores, selectTop, attendSizes, attend, attendJoin));
}

static_assert(assignableRangePairs() == 9, "two members of RangeKernels have the same type");

void testTable(const KernelTable& t) {
  CHECK(t.rope != nullptr && t.writeWindow != nullptr && t.compress != nullptr);
  CHECK(t.indexSelect != nullptr && t.attend != nullptr);
  const RangeKernels& k = *t.ranges;
  CHECK(k.rangeWork > 0 && k.rope != nullptr && k.compressWindows != nullptr && k.scoreScratch != nullptr);
  CHECK(k.indexScores != nullptr && k.selectTop != nullptr && k.attendSizes != nullptr && k.attend != nullptr);
  CHECK((k.attendJoin == nullptr) == (std::string(t.isa) == "generic"));
}

}  // namespace

int main() {
  for (const KernelTable& t : availableTables()) testTable(t);
  CHECK(std::string(availableTables().back().isa) == "generic");
  return megamoe::test::finish();
}
