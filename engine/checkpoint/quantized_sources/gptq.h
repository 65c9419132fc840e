// GPTQ as AutoGPTQ and gptqmodel pack it (Frantar et al. 2023, arXiv:2210.17323).
//
//   qweight[r, o]  codes of the columns r * 32 / bits ... of output o, the first in the lowest bits
//   qzeros[g, w]   zero points of the outputs w * 32 / bits ..., minus one in format "gptq"
//   g_idx[c]       the group of column c; with act-order in any order
#pragma once

#include "absl/status/statusor.h"
#include "engine/checkpoint/quantized_sources/source_parts.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {

// Errors name the file, the tensor and what is wrong in it: a group out of range or of another size than stated, groups
// in another order than stated, and what MakeGrouped refuses.
absl::StatusOr<QuantizedTensor> ConvertGptq(const SourceParts& parts);

}  // namespace switchyard
