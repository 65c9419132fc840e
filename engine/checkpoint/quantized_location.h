// Finds a quantised weight among the tensors of the shards: all its parts, with the shapes and types that it must have.
//
// Of `NAME.weight` [out, in], groups of `group` of the file, codes of `bits`:
//   bitsandbytes  NAME.weight U8 [out * in / 2, 1], NAME.weight.quant_map F32 [16],
//                 NAME.weight.quant_state.bitsandbytes__nf4 U8 [bytes of JSON], NAME.weight.absmax F32 [out * in / 64];
//                 double quantised: absmax U8, NAME.weight.nested_absmax F32 [ceil(out * in / 64 / 256)],
//                 NAME.weight.nested_quant_map F32 [256]
//   GPTQ          NAME.qweight I32 [in * bits / 32, out], NAME.qzeros I32 [ceil(in / group), out * bits / 32],
//                 NAME.scales F16 [ceil(in / group), out], NAME.g_idx I32 [in] (optional without act-order),
//                 NAME.bias [out] (optional)
//   AWQ           NAME.qweight I32 [in, out / 8], NAME.qzeros I32 [in / group, out / 8], NAME.scales F16
//                 [in / group, out], NAME.bias [out] (optional)
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/quantization_config.h"
#include "engine/checkpoint/shard_tensors.h"
#include "engine/checkpoint/weight_map.h"

namespace switchyard {

inline constexpr absl::string_view kQuantStateSuffix = "quant_state.bitsandbytes__nf4";
// Enough for any state that bitsandbytes writes, some 200 bytes.
inline constexpr int64_t kMaxQuantStateBytes = 4096;

// The tensor that is the part `suffix` of `weight`, "NAME.weight".
std::string PartName(WeightStorage storage, absl::string_view weight, absl::string_view suffix);

// In which form the tensors hold the weight `name`; kDense if none of them is a part of it.
WeightStorage StorageOf(const ShardTensors& tensors, absl::string_view name);

// The weight `name`, which is not dense, of `shape` [out, in]; its parts are claimed. INVALID_ARGUMENT names the file,
// the tensor and what disagrees: with `config`, or with each other. Null `config` for a checkpoint that states none.
absl::StatusOr<TensorLocation> LocateQuantized(ShardTensors& tensors, const std::string& name,
                                               std::span<const int64_t> shape, const QuantizationConfig* config);

}  // namespace switchyard
