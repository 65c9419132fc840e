// Weights as other tools quantised them, read whole into the neutral form.
//
//   bitsandbytes 4-bit (nf4)   weight, weight.absmax, weight.quant_map, weight.quant_state.bitsandbytes__nf4, and with
//                              double quantisation weight.nested_absmax, weight.nested_quant_map
//   GPTQ, 4 and 8 bits         qweight, qzeros, scales, g_idx
//   AWQ, 4 bits, GEMM packing  qweight, qzeros, scales
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "engine/checkpoint/random_access_file.h"
#include "engine/checkpoint/weight_map.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {

// Reads every part of `tensor`, which is not dense, once. The result has tensor.quantization. Errors name the file, the
// tensor, and what is wrong in it. Thread-safe.
absl::StatusOr<QuantizedTensor> ReadQuantizedTensor(std::span<const std::unique_ptr<RandomAccessFile>> files,
                                                    const TensorLocation& tensor);

}  // namespace switchyard
