// What one rank reads: for every weight, which rows and columns of which tensors, in the order of the weight's rows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/checkpoint/stacked_slices.h"
#include "engine/checkpoint/weight_map.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/model_weights.h"
#include "engine/model/quantization_choices.h"
#include "kernels/tensor.h"

namespace switchyard {

struct ExpertPlan {
  StackedSlices gate_up;
  StackedSlices down;
};

// Experts have one element type, and two forms that differ in `reordered` at most (ExpertWeightsSpec).
struct LayerPlan {
  TensorSlice input_norm;
  StackedSlices qkv;
  StackedSlices attention_output;
  TensorSlice post_attention_norm;
  StackedSlices router;
  DType experts_dtype = DType::kBFloat16;
  std::vector<ExpertPlan> experts;  // in slot order
};

// Borrows the locations of the WeightMap it was made from.
struct LoadPlan {
  StackedSlices embedding;
  std::vector<LayerPlan> layers;
  TensorSlice final_norm;
  std::optional<StackedSlices> lm_head;  // none: tied to the embedding
  int64_t bytes_read = 0;                // by all slices
  std::vector<std::string> warnings;     // weights that stay dense although they were to be quantised
};

// OK unless `quantize` asks for a form of weights that the files hold quantised: INVALID_ARGUMENT names the flag, the
// tensor and its form.
absl::Status CheckChoices(const DecoderSpec& spec, const WeightMap& weights, const QuantizationChoices& quantize);

// `shard` must lie within the model: heads and experts out of range are a programmer's error.
LoadPlan MakeLoadPlan(const DecoderSpec& spec, const WeightMap& weights, const QuantizationChoices& quantize,
                      const WeightShard& shard);

}  // namespace switchyard
