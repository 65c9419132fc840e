// The vectorised passes over a row of logits that sampling and scoring are made of. Stateless and thread-safe.
#pragma once

#include <cstdint>
#include <span>

namespace switchyard {

struct RowMaximum {
  float value = 0;
  int32_t index = -1;  // lowest among equals; -1: the row holds NaN or +infinity, or nothing above -infinity
};
RowMaximum FindRowMaximum(std::span<const float> row);

// out[i] = exp((row[i] - largest) / temperature), at most 1 where largest is the row's maximum; out has row's size.
// No temperature > 0 overflows.
void ExpOfScaled(std::span<const float> row, float largest, float temperature, std::span<float> out);

// log(sum(exp(row[i]))), for a row with the maximum `largest`.
double LogSumExp(std::span<const float> row, float largest);

}  // namespace switchyard
