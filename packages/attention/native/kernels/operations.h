// The operations on several threads: how each is cut into independent items, and what is done before and after on the
// caller's thread.
#pragma once

#include "kernels/table.h"

namespace attention {

void runRope(const KernelTable& k, const RopeParams& p, int threads);
void runWriteWindow(const KernelTable& k, const WriteWindowParams& p, int threads);
void runCompress(const KernelTable& k, const CompressParams& p, int threads);
void runIndexSelect(const KernelTable& k, const IndexSelectParams& p, int threads);
void runAttend(const KernelTable& k, const AttendParams& p, int threads);

}  // namespace attention
