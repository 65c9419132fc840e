// Random weights on the host, for benchmarks without a checkpoint.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/weights.h"

namespace switchyard {

// Dense: element i is deviation * the i-th number of NormalDraw(seed), rounded to the matrix's type. Quantised: random
// codes other than 0, all groups with one scale, so that mean and deviation are about the same.
absl::Status FillRandomRows(Matrix& matrix, uint64_t seed, float deviation);

}  // namespace switchyard
