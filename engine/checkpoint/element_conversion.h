// Checkpoint elements widened to float32, which is exact for every input, NaN and infinity included; and back.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/tensor.h"

namespace switchyard {

// `elements` holds out.size() values of `dtype` (kBFloat16, kFloat16 or kFloat32), of any alignment.
void WidenToFloat(DType dtype, const std::byte* elements, std::span<float> out);
// Rounds to the nearest, ties to even; `elements` as above.
void NarrowFromFloat(DType dtype, std::span<const float> values, std::byte* elements);

}  // namespace switchyard
