#include "tests/engine/checkpoint/loaded_weights.h"

#include <gtest/gtest.h>

#include <numeric>

#include "absl/strings/str_cat.h"
#include "kernels/quantization/quantize.h"
#include "tests/engine/checkpoint/checkpoint_files.h"
#include "tests/engine/checkpoint/fake_backend.h"

namespace switchyard {
namespace {

std::vector<float> Joined(std::vector<float> a, const std::vector<float>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// What is left of the tensor's values in the recipe's form.
ReferenceTensor RoundTrip(ReferenceTensor tensor, const QuantizationRecipe& recipe) {
  if (recipe.is_dense()) return tensor;
  const absl::StatusOr<QuantizedTensor> quantized = Quantize(recipe, tensor.values, tensor.shape[1]);
  EXPECT_TRUE(quantized.ok()) << quantized.status();
  if (quantized.ok()) DequantizeRows(*quantized, 0, quantized->rows, tensor.values);
  return tensor;
}

}  // namespace

WeightShard WholeModel(const DecoderSpec& spec) {
  WeightShard shard{.head_begin = 0,
                    .head_end = spec.num_heads,
                    .kv_head_begin = 0,
                    .kv_head_end = spec.num_kv_heads,
                    .experts = std::vector<int>(static_cast<size_t>(spec.num_experts))};
  std::iota(shard.experts.begin(), shard.experts.end(), 0);
  return shard;
}

WeightShard SecondHalf(const DecoderSpec& spec) {
  WeightShard shard;
  shard.kv_head_begin = spec.num_kv_heads / 2;
  shard.kv_head_end = spec.num_kv_heads;
  const int64_t group = spec.num_heads / spec.num_kv_heads;
  shard.head_begin = shard.kv_head_begin * group;
  shard.head_end = spec.num_heads;
  shard.experts = {static_cast<int>(spec.num_experts) - 1, 0, 2};
  return shard;
}

void ExpectSameAsFiles(const std::string& directory, const DecoderSpec& spec, const WeightShard& shard,
                       ModelWeights& weights, const QuantizationChoices& quantize) {
  const ReferenceFiles files(directory);
  const auto read = [&](const std::string& name, const QuantizationRecipe& recipe) {
    return RoundTrip(files.Read(name), recipe);
  };
  const auto whole = [&](const std::string& name, const QuantizationRecipe& recipe = {}) {
    return read(name, recipe).values;
  };
  EXPECT_EQ(ValuesOf(*weights.embedding), whole("model.embed_tokens.weight", quantize.embeddings));
  EXPECT_EQ(ValuesOf(weights.final_norm), whole("model.norm.weight"));
  const std::string head = spec.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  EXPECT_EQ(ValuesOf(*weights.lm_head), whole(head, quantize.embeddings));
  ASSERT_EQ(weights.layers.size(), static_cast<size_t>(spec.num_layers));
  const int64_t d = spec.head_dim;
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    LayerWeights& layer = weights.layers[i];
    const std::string prefix = absl::StrCat("model.layers.", i, ".");
    const auto rows = [&](const std::string& name, int64_t begin, int64_t end) {
      return read(prefix + name, quantize.attention).Part(begin, end, 0, spec.hidden_size);
    };
    EXPECT_EQ(ValuesOf(layer.input_norm), whole(prefix + "input_layernorm.weight"));
    EXPECT_EQ(ValuesOf(layer.post_attention_norm), whole(prefix + "post_attention_layernorm.weight"));
    EXPECT_EQ(ValuesOf(*layer.router), whole(prefix + "block_sparse_moe.gate.weight"));
    const std::vector<float> q = rows("self_attn.q_proj.weight", shard.head_begin * d, shard.head_end * d);
    const std::vector<float> k = rows("self_attn.k_proj.weight", shard.kv_head_begin * d, shard.kv_head_end * d);
    const std::vector<float> v = rows("self_attn.v_proj.weight", shard.kv_head_begin * d, shard.kv_head_end * d);
    EXPECT_EQ(ValuesOf(*layer.qkv), Joined(Joined(q, k), v));
    EXPECT_EQ(ValuesOf(*layer.attention_output),
              read(prefix + "self_attn.o_proj.weight", quantize.attention)
                  .Part(0, spec.hidden_size, shard.head_begin * d, shard.head_end * d));
    ASSERT_NE(layer.experts, nullptr);
    ASSERT_EQ(layer.experts->spec().num_experts, static_cast<int64_t>(shard.experts.size()));
    for (size_t slot = 0; slot < shard.experts.size(); ++slot) {
      const std::string expert = absl::StrCat(prefix, "block_sparse_moe.experts.", shard.experts[slot], ".");
      EXPECT_EQ(ValuesOf(layer.experts->gate_up(static_cast<int64_t>(slot))),
                Joined(whole(expert + "w1.weight", quantize.experts), whole(expert + "w3.weight", quantize.experts)));
      EXPECT_EQ(ValuesOf(layer.experts->down(static_cast<int64_t>(slot))),
                whole(expert + "w2.weight", quantize.experts));
    }
  }
}

std::vector<Matrix*> MatricesOf(ModelWeights& weights) {
  std::vector<Matrix*> matrices = {weights.embedding.get()};
  for (LayerWeights& layer : weights.layers) {
    matrices.insert(matrices.end(), {layer.qkv.get(), layer.attention_output.get(), layer.router.get()});
    for (int64_t expert = 0; expert < layer.experts->spec().num_experts; ++expert) {
      matrices.push_back(&layer.experts->gate_up(expert));
      matrices.push_back(&layer.experts->down(expert));
    }
  }
  if (weights.lm_head != weights.embedding) matrices.push_back(weights.lm_head.get());
  return matrices;
}

std::vector<Tensor*> NormsOf(ModelWeights& weights) {
  std::vector<Tensor*> norms;
  for (LayerWeights& layer : weights.layers) {
    norms.insert(norms.end(), {&layer.input_norm, &layer.post_attention_norm});
  }
  norms.push_back(&weights.final_norm);
  return norms;
}

}  // namespace switchyard
