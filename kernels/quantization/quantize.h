// Quantisation of float32 rows: what --quantize does on loading, and `switchyard quantize` once.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/quantization/quantization.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {

// One row, independent of all others: codes [CodeBytes(row.size())], scales [groups] and, where has_zeros, zeros
// [groups] (else unused). Scales of kInt4 and kInt8 are float16 values, and codes are rounded with those. Of kNf4 they
// are the largest magnitudes of the blocks in float32, which DoubleQuantize replaces; codes follow from them unrounded,
// as in bitsandbytes. A row that is not finite is INVALID_ARGUMENT, and so is one that float16 scales do not reach.
absl::Status QuantizeRow(const QuantizationRecipe& recipe, std::span<const float> row, uint8_t* codes, float* scales,
                         uint8_t* zeros);

// Replaces scales.values, the block maxima of a WHOLE tensor [rows, groups], by what 8 bits hold of them, and fills the
// nested arrays: their mean is the offset, and 256 of the rest in a row share a scale. Bit for bit bitsandbytes'
// quantize_4bit(compress_statistics=True) where codes are the nearest ones (on GPUs, and in its portable kernel; its
// CPU kernel of 0.50 rounds coarser) and torch sums the mean on one CPU thread.
void DoubleQuantize(ScaleArrays& scales);

// Both, for a tensor [rows, columns].
absl::StatusOr<QuantizedTensor> Quantize(const QuantizationRecipe& recipe, std::span<const float> values,
                                         int64_t columns);

}  // namespace switchyard
