// RMS norm of rows, on one thread.
#pragma once

#include <cstdint>

namespace switchyard {

// out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight for `rows` rows of `hidden` floats. `out` may be `x`.
void RmsNormRows(const float* x, const float* weight, float eps, int64_t rows, int64_t hidden, float* out);

}  // namespace switchyard
