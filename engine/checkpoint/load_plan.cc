#include "engine/checkpoint/load_plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/safetensors.h"

namespace switchyard {
namespace {

TensorSlice Rows(const TensorLocation& tensor, int64_t row_begin, int64_t row_end) {
  return {
      .tensor = &tensor, .row_begin = row_begin, .row_end = row_end, .column_begin = 0, .column_end = tensor.columns()};
}

TensorSlice Whole(const TensorLocation& tensor) { return Rows(tensor, 0, tensor.rows()); }

// Calls `body` with the gate_up and the down of each expert.
template <typename Body>
void ForEachWeight(std::vector<ExpertPlan>& experts, const Body& body) {
  for (ExpertPlan& expert : experts) {
    body(expert.gate_up);
    body(expert.down);
  }
}

// All experts of a rank's layer share one element type.
DType UnifyDType(std::vector<ExpertPlan>& experts) {
  if (experts.empty()) return DType::kBFloat16;
  DType dtype = experts.front().gate_up.dtype;
  ForEachWeight(experts, [&dtype](const StackedSlices& weight) {
    if (weight.dtype != dtype) dtype = DType::kFloat32;
  });
  ForEachWeight(experts, [dtype](StackedSlices& weight) { weight.dtype = dtype; });
  return dtype;
}

// And one form, but for the order of columns; where there is none, all are dense.
void UnifyForm(std::vector<ExpertPlan>& experts, DenseFallbacks& fallbacks) {
  if (experts.empty()) return;
  const bool gate_up_order = experts.front().gate_up.quantization.reordered;
  const bool down_order = experts.front().down.quantization.reordered;
  std::optional<Quantization> common;
  bool is_one_form = true;
  const auto add = [&](const StackedSlices& weight, bool order) {
    Quantization form = weight.quantization;
    is_one_form = is_one_form && form.reordered == order;
    form.reordered = false;
    common = common.has_value() ? CommonForm(*common, form) : form;
    is_one_form = is_one_form && common.has_value();
  };
  for (const ExpertPlan& expert : experts) {
    if (is_one_form) add(expert.gate_up, gate_up_order);
    if (is_one_form) add(expert.down, down_order);
  }
  ForEachWeight(experts, [&](StackedSlices& weight) {
    if (is_one_form && !common->is_dense()) weight.quantization.group_size = common->group_size;
    if (is_one_form || weight.quantization.is_dense()) return;
    MakeDense(weight, "experts of one layer must be quantised alike, and some are not", fallbacks);
  });
}

class Planner {
 public:
  Planner(const DecoderSpec& spec, const WeightMap& weights, const QuantizationChoices& quantize,
          const WeightShard& shard)
      : spec_(spec), weights_(weights), quantize_(quantize), shard_(shard) {}

  LoadPlan Plan() {
    LoadPlan plan;
    plan.embedding = Stacked({Whole(weights_.Find(WeightRole::kEmbedding))}, quantize_.embeddings);
    plan.final_norm = Norm(weights_.Find(WeightRole::kFinalNorm));
    if (!spec_.tie_word_embeddings) {
      plan.lm_head = Stacked({Whole(weights_.Find(WeightRole::kLmHead))}, quantize_.embeddings);
    }
    for (int64_t layer = 0; layer < spec_.num_layers; ++layer) plan.layers.push_back(Layer(layer));
    plan.bytes_read = bytes_read_;
    plan.warnings = fallbacks_.Sentences();
    return plan;
  }

 private:
  LayerPlan Layer(int64_t layer) {
    const auto find = [&](WeightRole role) -> const TensorLocation& { return weights_.Find(role, layer); };
    const int64_t q_begin = shard_.head_begin * spec_.head_dim;
    const int64_t q_end = shard_.head_end * spec_.head_dim;
    const int64_t kv_begin = shard_.kv_head_begin * spec_.head_dim;
    const int64_t kv_end = shard_.kv_head_end * spec_.head_dim;

    LayerPlan plan;
    plan.input_norm = Norm(find(WeightRole::kInputNorm));
    plan.qkv = Stacked({Rows(find(WeightRole::kQuery), q_begin, q_end), Rows(find(WeightRole::kKey), kv_begin, kv_end),
                        Rows(find(WeightRole::kValue), kv_begin, kv_end)},
                       quantize_.attention);
    TensorSlice attention_output = Whole(find(WeightRole::kAttentionOutput));
    attention_output.column_begin = q_begin;
    attention_output.column_end = q_end;
    plan.attention_output = Stacked({attention_output}, quantize_.attention);
    plan.post_attention_norm = Norm(find(WeightRole::kPostAttentionNorm));
    // A few rows, on which the choice of experts hangs. Some exports of bitsandbytes quantise them with all else; they
    // are dequantised once, as that library does for each product.
    plan.router = Counted(DenseStack(Whole(find(WeightRole::kRouter))));
    for (const int expert : shard_.experts) {
      plan.experts.push_back({.gate_up = Stack({Whole(weights_.Find(WeightRole::kExpertGate, layer, expert)),
                                                Whole(weights_.Find(WeightRole::kExpertUp, layer, expert))},
                                               quantize_.experts, fallbacks_),
                              .down = Stack({Whole(weights_.Find(WeightRole::kExpertDown, layer, expert))},
                                            quantize_.experts, fallbacks_)});
    }
    plan.experts_dtype = UnifyDType(plan.experts);
    UnifyForm(plan.experts, fallbacks_);
    ForEachWeight(plan.experts, [this](const StackedSlices& weight) { bytes_read_ += weight.bytes_read(); });
    return plan;
  }

  StackedSlices Stacked(std::vector<TensorSlice> slices, const QuantizationRecipe& recipe) {
    return Counted(Stack(std::move(slices), recipe, fallbacks_));
  }
  StackedSlices Counted(StackedSlices stacked) {
    bytes_read_ += stacked.bytes_read();
    return stacked;
  }
  TensorSlice Norm(const TensorLocation& tensor) {
    bytes_read_ += tensor.bytes();
    return Whole(tensor);
  }

  const DecoderSpec& spec_;
  const WeightMap& weights_;
  const QuantizationChoices& quantize_;
  const WeightShard& shard_;
  DenseFallbacks fallbacks_;
  int64_t bytes_read_ = 0;
};

void CheckShard(const DecoderSpec& spec, const WeightShard& shard) {
  CHECK(0 <= shard.head_begin && shard.head_begin < shard.head_end && shard.head_end <= spec.num_heads);
  CHECK(0 <= shard.kv_head_begin && shard.kv_head_begin < shard.kv_head_end && shard.kv_head_end <= spec.num_kv_heads);
  for (const int expert : shard.experts) CHECK(expert >= 0 && expert < spec.num_experts);
}

absl::Status CheckChoice(absl::string_view flag, const QuantizationRecipe& recipe, const TensorLocation& tensor) {
  if (recipe.is_dense() || tensor.is_dense()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--", flag, " ", Name(recipe), ": ", QuoteName(tensor.name), " is quantised in the checkpoint already (",
      Describe(tensor.quantization), "), and is used as it is: say --", flag, " none"));
}

}  // namespace

absl::Status CheckChoices(const DecoderSpec& spec, const WeightMap& weights, const QuantizationChoices& quantize) {
  absl::Status status;
  for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
    for (int64_t expert = 0; expert < spec.num_experts; ++expert) {
      for (const WeightRole role : {WeightRole::kExpertGate, WeightRole::kExpertUp, WeightRole::kExpertDown}) {
        status.Update(CheckChoice("quantize", quantize.experts, weights.Find(role, layer, expert)));
      }
    }
    for (const WeightRole role :
         {WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue, WeightRole::kAttentionOutput}) {
      status.Update(CheckChoice("quantize-attention", quantize.attention, weights.Find(role, layer)));
    }
  }
  status.Update(CheckChoice("quantize-embeddings", quantize.embeddings, weights.Find(WeightRole::kEmbedding)));
  if (!spec.tie_word_embeddings) {
    status.Update(CheckChoice("quantize-embeddings", quantize.embeddings, weights.Find(WeightRole::kLmHead)));
  }
  return status;
}

LoadPlan MakeLoadPlan(const DecoderSpec& spec, const WeightMap& weights, const QuantizationChoices& quantize,
                      const WeightShard& shard) {
  CheckShard(spec, shard);
  return Planner(spec, weights, quantize, shard).Plan();
}

}  // namespace switchyard
