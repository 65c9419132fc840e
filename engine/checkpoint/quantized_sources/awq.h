// AWQ as AutoAWQ's GEMM version packs it (Lin et al. 2023, arXiv:2306.00978).
//
//   qweight[c, w]  codes of column c of the outputs 8w + 0, 2, 4, 6, 1, 3, 5, 7, the first in the lowest bits
//   qzeros[g, w]   zero points of the same outputs
#pragma once

#include "absl/status/statusor.h"
#include "engine/checkpoint/quantized_sources/source_parts.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {

// Errors are those of MakeGrouped.
absl::StatusOr<QuantizedTensor> ConvertAwq(const SourceParts& parts);

}  // namespace switchyard
