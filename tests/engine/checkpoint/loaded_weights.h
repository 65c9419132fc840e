// Shards of a model, and what their weights must be.
#pragma once

#include <string>
#include <vector>

#include "engine/model/decoder_spec.h"
#include "engine/model/model_weights.h"
#include "engine/model/quantization_choices.h"

namespace switchyard {

WeightShard WholeModel(const DecoderSpec& spec);
// The second half of the heads, and three experts in an order that is neither contiguous nor ascending.
WeightShard SecondHalf(const DecoderSpec& spec);

// Compares every weight of `shard`, made by a FakeBackend, with an independent reading of the same files, which are
// dense: each tensor is quantised whole as `quantize` says, and sliced afterwards.
void ExpectSameAsFiles(const std::string& directory, const DecoderSpec& spec, const WeightShard& shard,
                       ModelWeights& weights, const QuantizationChoices& quantize = {});

// All matrices, made by a FakeBackend: the embedding, of each layer qkv, o, router and the experts, and the head.
std::vector<Matrix*> MatricesOf(ModelWeights& weights);
// All norms: of each layer two, and the last.
std::vector<Tensor*> NormsOf(ModelWeights& weights);

}  // namespace switchyard
