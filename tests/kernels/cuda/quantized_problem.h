// Quantised matrices with random codes and scales in host memory, their exact values, and the same in the layout of
// the GPU, for the tests of CUDA kernels.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/quantized_matrix.h"
#include "kernels/quantization/quantized_tensor.h"
#include "kernels/tensor.h"
#include "tests/kernels/cuda/device_vector.h"

namespace switchyard::cuda {

struct NamedQuantization {
  const char* name;
  Quantization quantization;
};
// Every format with every group size, zero points and nesting; none reordered.
std::vector<NamedQuantization> AllQuantizations();
// Zero points, nested scales and short groups among them.
std::vector<NamedQuantization> SomeQuantizations();

// Codes uniform, the column order a random one, values of about 1 / sqrt(columns).
QuantizedTensor RandomQuantized(const Quantization& quantization, int64_t rows, int64_t columns, std::mt19937& random);

// [rows, columns] in the order of the input features, as products take them: code - zero, or the value of an NF4 code
// rounded to `dtype`, times the scale in float32.
std::vector<double> ProductValues(const QuantizedTensor& tensor, DType dtype);

// Device memory of QuantizedBytes for equal matrices; what the format leaves unspecified is 0xFF.
DeviceVector<uint8_t> UploadQuantized(const std::vector<QuantizedTensor>& matrices);
QuantizedMatrix ViewOf(const std::vector<QuantizedTensor>& matrices, const DeviceVector<uint8_t>& memory);

}  // namespace switchyard::cuda
