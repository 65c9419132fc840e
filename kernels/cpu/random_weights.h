// Random weights on the host, for benchmarks without a checkpoint.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/weights.h"

namespace switchyard {

// Dense: element i is deviation * the i-th number of NormalDraw(seed), rounded to the matrix's type. Quantised: random
// codes, all groups with scales of one magnitude, so that the mean is 0 and the deviation the same.
absl::Status FillRandomRows(Matrix& matrix, uint64_t seed, float deviation);

}  // namespace switchyard
