// Scales and zero points of files that hold them by groups, [groups of the file, out], in the neutral form's
// [out, groups]; what GPTQ and AWQ have in common.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/quantized_sources/source_parts.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {

// Of the file.
int64_t NumFileGroups(const TensorLocation& tensor);

// A tensor of the location's shape and quantisation with its scales from the part "scales" and its zeros from `zeros`
// [groups of the file, out]; codes allocated, and filled by nobody. A Fault if a scale is not finite, if a zero point
// is not in the middle although the quantisation has none, or if a "bias" is not all zero.
absl::StatusOr<QuantizedTensor> MakeGrouped(const SourceParts& parts, std::span<const uint8_t> zeros);

}  // namespace switchyard
