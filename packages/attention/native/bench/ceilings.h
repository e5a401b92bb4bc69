// What this machine allows, measured: float32 multiply-adds and reading memory.
#pragma once

#include <cstdint>
#include <string>

namespace bench {

// `rounds` * flopsPerRound(isa) floating-point operations in registers, with the widest vectors that `isa` names.
double spinFma(const std::string& isa, std::int64_t rounds);
double flopsPerRound(const std::string& isa);

// Reads n floats (a multiple of 64) and returns something that depends on all of them.
float readAll(const float* p, std::int64_t n);

}  // namespace bench
