// Reads tensors of a dense checkpoint, quantised or as they are.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/random_access_file.h"
#include "engine/checkpoint/weight_map.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {

// Thread-safe, both. Errors name the file and the tensor.
absl::StatusOr<QuantizedTensor> QuantizeTensor(std::span<const std::unique_ptr<RandomAccessFile>> files,
                                               const TensorLocation& tensor, const QuantizationRecipe& recipe);
// `bytes` from tensor.begin.
absl::StatusOr<std::vector<std::byte>> ReadTensor(std::span<const std::unique_ptr<RandomAccessFile>> files,
                                                  const TensorLocation& tensor, int64_t bytes);

}  // namespace switchyard
