// Rows of another element type than the device stores, converted on the host.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/tensor.h"

namespace switchyard::cuda {

// `rows` (kBFloat16, kFloat16 or kFloat32) rounded to `dtype` (kBFloat16 or kFloat16), to nearest even.
std::vector<uint16_t> RoundRows(ConstTensorView rows, DType dtype);

}  // namespace switchyard::cuda
