// NF4 with double quantisation, as transformers saves what bitsandbytes quantised.
//
//   weight U8 [out * in / 2, 1]: two codes to a byte, the lower column in the UPPER half
//   weight.nested_absmax F32, weight.nested_quant_map F32 [256], weight.quant_map F32 [16]
//   weight.absmax U8 [out * in / 64]: the codes of the scales
//   weight.quant_state.bitsandbytes__nf4 U8: JSON, padded with spaces
// Source: bitsandbytes, QuantState.as_dict(packed=True).
#pragma once

#include <memory>

#include "engine/checkpoint/writer/encoded_weight.h"

namespace switchyard {

std::unique_ptr<WeightEncoder> CreateBitsAndBytesEncoder();

}  // namespace switchyard
