#include "engine/checkpoint/model_config.h"

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/rope_frequencies.h"

namespace switchyard {
namespace {

// Caps far above any model and low enough that no product of two sizes overflows.
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxCount = int64_t{1} << 12;  // layers, heads, experts
constexpr int64_t kMaxPositions = int64_t{1} << 30;

// Fields of other architectures that ask for mathematics we do not have; false, 0 and null ask for nothing.
constexpr absl::string_view kRefusedWhenSet[] = {
    "attention_bias",
    "attn_logit_softcapping",
    "decoder_sparse_step",
    "final_logit_softcapping",
    "first_k_dense_replace",
    "logit_scale",
    "mlp_bias",
    "n_shared_experts",
    "num_shared_experts",
    "parallel_attn",
    "qkv_bias",
    "scoring_func",
    "shared_expert_intermediate_size",
    "use_qk_norm",
};

// Read by training, generation utilities or tokenizers only; or by us, elsewhere (quantization_config.h).
constexpr absl::string_view kHarmless[] = {
    "_attn_implementation",
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "initializer_range",
    "output_router_logits",
    "pad_token_id",
    "quantization_config",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "transformers_version",
    "use_cache",
    "torch_dtype",
    "dtype",
    "auto_map",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "unsloth_version",
    "pretraining_tp",
};

bool AsksForNothing(const nlohmann::json& value) {
  return value.is_boolean() ? !value.get<bool>() : value.is_number() && value.get<double>() == 0;
}

void RefuseForeignMathematics(JsonFields& config) {
  for (const absl::string_view name : kRefusedWhenSet) {
    const nlohmann::json* const value = config.Find(name);
    if (value == nullptr || AsksForNothing(*value)) continue;
    config.Fail(name, absl::StrCat("is ", JsonText(*value), "; mixtral models with it are not supported"));
  }
  if (!config.Boolean("norm_topk_prob").value_or(true)) {
    config.Fail("norm_topk_prob", "is false; mixtral always renormalises the router's weights");
  }
  const std::string activation = config.String("hidden_act").value_or("silu");
  if (activation != "silu") config.Fail("hidden_act", absl::StrCat("is '", activation, "'; only 'silu' is supported"));
}

// Layers that differ from each other are not in DecoderSpec yet.
void RefuseMixedLayers(JsonFields& config, bool sliding) {
  const nlohmann::json* const types = config.Find("layer_types");
  if (types == nullptr) return;
  const std::string expected = sliding ? "sliding_attention" : "full_attention";
  for (const nlohmann::json& type : types->is_array() ? *types : nlohmann::json::array({*types})) {
    if (type == expected) continue;
    config.Fail("layer_types", absl::StrCat("contains ", JsonText(type), "; sliding_window makes every layer '",
                                            expected, "' and no other kind is supported beside it"));
  }
}

void ReadShape(JsonFields& config, DecoderSpec& spec) {
  spec.vocab_size = config.RequiredInteger("vocab_size", {.min = 1, .max = kMaxVocab});
  spec.hidden_size = config.RequiredInteger("hidden_size", {.min = 1, .max = kMaxWidth});
  spec.expert_intermediate_size = config.RequiredInteger("intermediate_size", {.min = 1, .max = kMaxWidth});
  spec.num_layers = config.RequiredInteger("num_hidden_layers", {.min = 1, .max = kMaxCount});
  spec.max_position_embeddings =
      config.Integer("max_position_embeddings", {.min = 1, .max = kMaxPositions}).value_or(131072);
  spec.rms_norm_eps =
      static_cast<float>(config.Number("rms_norm_eps", {.min = 0, .max = 1, .min_allowed = false}).value_or(1e-5));
  spec.tie_word_embeddings = config.Boolean("tie_word_embeddings").value_or(false);
  spec.sliding_window = config.Integer("sliding_window", {.min = 1, .max = kMaxPositions});
}

void ReadHeads(JsonFields& config, DecoderSpec& spec) {
  spec.num_heads = config.RequiredInteger("num_attention_heads", {.min = 1, .max = kMaxCount});
  spec.num_kv_heads = config.Integer("num_key_value_heads", {.min = 1, .max = kMaxCount}).value_or(spec.num_heads);
  if (spec.num_heads % spec.num_kv_heads != 0) {
    config.Fail("num_key_value_heads",
                absl::StrCat("is ", spec.num_kv_heads, "; it must divide num_attention_heads ", spec.num_heads));
  }
  const std::optional<int64_t> head_dim = config.Integer("head_dim", {.min = 2, .max = kMaxCount});
  spec.head_dim = head_dim.value_or(std::max<int64_t>(spec.hidden_size / spec.num_heads, 2));
  if (!head_dim && spec.hidden_size % spec.num_heads != 0) {
    config.Fail("hidden_size", absl::StrCat("is ", spec.hidden_size, "; without head_dim it must be a multiple of ",
                                            "num_attention_heads ", spec.num_heads));
  }
  if (!head_dim && spec.hidden_size / spec.num_heads > kMaxCount) {
    config.Fail("hidden_size", absl::StrCat("is ", spec.hidden_size, " for ", spec.num_heads,
                                            " heads; a head may have at most ", kMaxCount, " dimensions"));
  }
  if (spec.head_dim % 2 != 0) {
    config.Fail("head_dim", absl::StrCat("is ", spec.head_dim, "; rotary embedding needs a multiple of 2"));
  }
}

void ReadExperts(JsonFields& config, DecoderSpec& spec) {
  spec.num_experts = config.RequiredInteger("num_local_experts", {.min = 1, .max = kMaxCount});
  spec.experts_per_token = config.RequiredInteger("num_experts_per_tok", {.min = 1, .max = kMaxCount});
  if (spec.experts_per_token > spec.num_experts) {
    config.Fail("num_experts_per_tok", absl::StrCat("is ", spec.experts_per_token,
                                                    "; it must be at most num_local_experts ", spec.num_experts));
  }
}

void ReadDType(JsonFields& config, DecoderSpec& spec) {
  const char* const name = config.Has("dtype") ? "dtype" : "torch_dtype";
  const std::string dtype = config.String(name).value_or("bfloat16");
  if (dtype == "bfloat16") {
    spec.weight_dtype = DType::kBFloat16;
  } else if (dtype == "float16") {
    spec.weight_dtype = DType::kFloat16;
  } else if (dtype == "float32") {
    spec.weight_dtype = DType::kFloat32;
  } else {
    config.Fail(name, absl::StrCat("is '", dtype, "'; supported are bfloat16, float16 and float32"));
  }
}

// transformers' defaults are 1 and 2; null means that there is none.
void ReadSpecialTokens(JsonFields& config, const nlohmann::json& object, DecoderSpec& spec) {
  const std::optional<int64_t> bos = config.Integer("bos_token_id", {.min = 0, .max = spec.vocab_size - 1});
  if (bos) spec.bos_token_id = static_cast<int32_t>(*bos);
  if (!object.contains("bos_token_id") && spec.vocab_size > 1) spec.bos_token_id = 1;
  if (auto eos = config.TokenIds("eos_token_id", spec.vocab_size)) spec.eos_token_ids = *std::move(eos);
  if (!object.contains("eos_token_id") && spec.vocab_size > 2) spec.eos_token_ids = {2};
}

absl::StatusOr<DecoderSpec> ParseMixtral(const std::string& file, const nlohmann::json& object, JsonFields& config) {
  DecoderSpec spec;
  spec.model_type = "mixtral";
  RefuseForeignMathematics(config);
  ReadShape(config, spec);
  ReadHeads(config, spec);
  ReadExperts(config, spec);
  ReadDType(config, spec);
  ReadSpecialTokens(config, object, spec);
  RefuseMixedLayers(config, spec.sliding_window.has_value());
  if (!config.status().ok()) return config.status();
  RopeFrequencies rope = ReadRopeFrequencies(config, spec.head_dim, spec.max_position_embeddings, spec.warnings);
  if (!config.status().ok()) return config.status();
  spec.rope_inv_freq = std::move(rope.inv_freq);
  spec.rope_attention_factor = rope.attention_factor;

  for (const std::string& name : config.Unread()) {
    if (std::find(std::begin(kHarmless), std::end(kHarmless), name) != std::end(kHarmless)) continue;
    spec.warnings.push_back(
        absl::StrCat(file, ": ", JsonText(name), " is not a field of mixtral models and is ignored"));
  }
  return spec;
}

}  // namespace

absl::StatusOr<DecoderSpec> ParseModelConfig(const std::string& file, const nlohmann::json& config) {
  try {
    JsonFields fields(file, config);
    const std::optional<std::string> model_type = fields.String("model_type");
    if (!fields.status().ok()) return fields.status();
    if (!model_type)
      return absl::InvalidArgumentError(absl::StrCat(file, ": model_type is missing; supported: mixtral"));
    if (*model_type != "mixtral") {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": model_type ", JsonText(*model_type), " is not supported; supported: mixtral"));
    }
    return ParseMixtral(file, config, fields);
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", e.what()));
  }
}

}  // namespace switchyard
