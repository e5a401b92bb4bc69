#pragma once

#include "../nvfp4/kernels.h"

namespace megamoe::gemm::avx512 {

constexpr std::int64_t kW4A4RowBytes = nvfp4::kBlocks * 28;  // of a packed row in a superblock; rows below kTableRows use 24 of 28

// Experts with this many rows and more go through w4a4_table.cc.
constexpr std::int64_t kTableRows = 128;

void packTableTile(const std::uint8_t* codes, const std::uint8_t* sf, std::int64_t k, std::int64_t rows, std::uint8_t* tile);
void tablePanel(const nvfp4::PanelJob& job);
std::int64_t tableScratch(std::int64_t rows);

extern const nvfp4::W4A4Kernels kW4A4;

}  // namespace megamoe::gemm::avx512
