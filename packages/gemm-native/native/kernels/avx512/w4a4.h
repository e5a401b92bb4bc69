// What w4a4.cc and w4a4_table.cc share.
#pragma once

#include "../nvfp4/kernels.h"

namespace megamoe::gemm::avx512 {

constexpr std::int64_t kW4A4BlockBytes = 24;  // of a packed row in a block: codes, start, scale
constexpr std::int64_t kW4A4RowBytes = nvfp4::kBlocks * kW4A4BlockBytes;

constexpr float kW4A4Undo = 0.25f;  // what accumulators are multiplied with: two doubled operands

// Experts with this many rows and more go through w4a4_table.cc.
constexpr std::int64_t kTableRows = 32;

void tablePanel(const nvfp4::PanelJob& job);
std::int64_t tableScratch(std::int64_t rows);

}  // namespace megamoe::gemm::avx512
