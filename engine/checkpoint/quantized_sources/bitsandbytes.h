// NF4 as bitsandbytes serialises it: QuantState.as_dict(packed=True) (Dettmers et al. 2023, arXiv:2305.14314).
//
//   weight          codes of the whole tensor row by row, two to a byte, the first in the UPPER half
//   absmax          the scale of every 64 of them; double quantised, its code
//   nested_absmax   the scale of every 256 of those codes
//   quant_state...  JSON: quant_type, blocksize, dtype, shape and, double quantised, nested_blocksize, nested_offset
#pragma once

#include "absl/status/statusor.h"
#include "engine/checkpoint/quantized_sources/source_parts.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {

// Errors name the file, the tensor and what is wrong in it: a table that is not NF4's, or a state that disagrees with
// the tensors.
absl::StatusOr<QuantizedTensor> ConvertBitsAndBytes(const SourceParts& parts);

}  // namespace switchyard
