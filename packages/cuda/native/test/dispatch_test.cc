// Which kernel is chosen, and how many jobs and how much scratch that takes. Needs no GPU.
#include <megamoe/test.h>

#include <initializer_list>

#include "../kernels/jobs.h"
#include "../kernels/packed.h"
#include "../kernels/w4a4.h"

using namespace megamoe::cuda;

namespace {

// Jobs that `counts` rows really make, all experts the same.
std::int64_t jobsOf(std::int64_t each, std::int64_t experts, int tile) { return experts * ceilDiv(each, tile); }

}  // namespace

int main() {
  CHECK(chooseW4A4(false, 100000, 2).kernel == W4A4Kernel::plain);
  CHECK(chooseW4A4(true, 6, 256).kernel == W4A4Kernel::rows8);
  CHECK(chooseW4A4(true, 48, 256).kernel == W4A4Kernel::rows8);
  CHECK(chooseW4A4(true, 6 * 512, 256).kernel == W4A4Kernel::rows32);
  CHECK(chooseW4A4(true, 6 * 2048, 256).kernel == W4A4Kernel::rows64);
  CHECK(chooseW4A4(true, 6 * 4096, 256).kernel == W4A4Kernel::rows128);
  for (const std::int64_t experts : {1, 2, 7, 256})
    for (const std::int64_t each : {0, 1, 7, 8, 9, 63, 64, 65, 500}) {
      const std::int64_t slots = each * experts;
      const W4A4Choice choice = chooseW4A4(true, slots, experts);
      CHECK(choice.rows % 8 == 0);
      CHECK(mostJobs(slots, experts, choice.rows) >= jobsOf(each, experts, choice.rows));
      // One expert may have all of them.
      CHECK(mostJobs(slots, experts, choice.rows) >= ceilDiv(slots, choice.rows));
    }
  CHECK(isPackable(16, 64) && isPackable(4096, 4096));
  CHECK(!isPackable(8, 64) && !isPackable(16, 48));
  return megamoe::test::finish();
}
