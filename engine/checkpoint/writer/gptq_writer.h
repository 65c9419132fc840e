// INT4 and INT8 in GPTQ's packing, columns in their own order.
//
//   qweight I32 [in * bits / 32, out]: a word holds consecutive inputs of one output, the first in its lowest bits
//   scales F16 [groups, out]
//   qzeros I32 [groups, out * bits / 32]: zero points less 1, of consecutive outputs, the first in the lowest bits
//   g_idx I32 [in]: the group of each input
// Source: AutoGPTQ's qlinear modules, checkpoint_format "gptq"; less 1 is modulo 2^bits there and here.
#pragma once

#include <memory>

#include "engine/checkpoint/writer/encoded_weight.h"
#include "kernels/quantization/quantization.h"

namespace switchyard {

// `recipe` is of kInt4 or kInt8, for all weights.
std::unique_ptr<WeightEncoder> CreateGptqEncoder(const QuantizationRecipe& recipe);

}  // namespace switchyard
