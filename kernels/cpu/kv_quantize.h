// The vectorised form of WriteKvRow (kv_rows.h), to the same bits.
#pragma once

#include <cstdint>

#include "kernels/float8.h"

namespace switchyard {

// out [count], scale: see kv_scale.h.
void QuantizeKv(const float* values, int64_t count, Float8E4M3* out, float* scale);
void QuantizeKv(const float* values, int64_t count, int8_t* out, float* scale);

}  // namespace switchyard
