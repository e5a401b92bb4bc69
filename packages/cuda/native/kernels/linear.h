// Dense products, and products of the rows of experts that are not quantized.
#pragma once

#include "jobs.h"
#include "weight.h"

namespace megamoe::cuda {

// out[r, g*N + n] = alpha[g, part of n] * sum_k x[r, g*K + k] * w[g, n, k]; w.matrices groups. alpha [groups*parts] for
// nvfp4, else null. `rounded`: x goes in as BF16.
void linear(const Launch& l, const Weight& w, const float* x, std::int64_t rows, bool rounded, const float* alpha,
            std::int64_t parts, float* out);

// out[r, n] = alpha[e, part of n] * sum_k a[r, k] * w[e, n, k] for the rows r of each job's expert e; a [R, K].
void groupedFloat(const Launch& l, const Weight& w, const Job* jobs, std::int64_t mostJobs, const float* a,
                  bool rounded, const float* alpha, std::int64_t parts, float* out);

// Rows that a job of groupedFloat may have.
constexpr int kFloatJobRows = 8;

}  // namespace megamoe::cuda
