// The model on one rank: a batch in, drawn and scored tokens out. Written once over Backend and Communicator.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/batch.h"
#include "engine/kv_cache.h"
#include "engine/model/expert_forecaster.h"
#include "engine/model/model_weights.h"
#include "engine/model/moe_layer.h"
#include "engine/model/rank_context.h"
#include "engine/model/recorded_steps.h"
#include "engine/model/step_index.h"
#include "engine/model/workspace.h"
#include "engine/step_layout.h"

namespace switchyard {

struct DecoderLimits {
  int64_t max_batch_tokens = 0;
  int64_t max_sequences = 0;
  int64_t max_pages_per_sequence = 0;
  int64_t max_context = 0;  // tokens of one sequence
  bool has_slices = true;   // steps with TokenLayout::kSliced may come
};

// Used by the rank's thread only. Every rank runs the same batches in the same order.
class Decoder {
 public:
  // All activations are allocated here, and what the backend needs for the largest step.
  static absl::StatusOr<std::unique_ptr<Decoder>> Create(const RankContext& rank, const DecoderLimits& limits,
                                                         ModelWeights weights, KvCache cache);

  // For the loader: weights are made empty.
  ModelWeights& weights() { return weights_; }

  // A decode step of a fixed size.
  struct RecordableStep {
    ExchangeStrategy exchange;
    int64_t padded_tokens;
  };
  // Decode steps of every size for each of `exchanges`, in the order of recording; two sizes may be padded alike.
  // None where the backend or the communicator cannot record; all_to_all, whose sizes follow from the
  // routing, never can be among several ranks.
  std::vector<RecordableStep> RecordableSteps(std::span<const ExchangeStrategy> exchanges) const;
  // Records these; every rank calls it with the same exchanges.
  absl::Status RecordSteps(std::span<const ExchangeStrategy> exchanges);
  int64_t num_recorded_steps() const { return recorded_.size(); }

  absl::StatusOr<StepOutput> Step(const Batch& batch);

 private:
  Decoder(const RankContext& rank, const DecoderLimits& limits, ModelWeights weights, KvCache cache);

  TokenLayout LayoutOfStep(ExchangeStrategy exchange) const;
  // Rows of logits of a padded step: every residual row, or this rank's share of them where all ranks hold all.
  int64_t PaddedOutputRows(const StepLayout& layout) const;
  absl::Status RunLayers(ExchangeStrategy exchange, const StepLayout& layout, MoeTimes& times);
  // What a recorded step does: the layers, then the logits of index_.output_rows().
  absl::Status RunPadded(ExchangeStrategy exchange, const StepLayout& layout);
  absl::Status RecordStep(ExchangeStrategy exchange, int64_t padded_tokens);
  // Draws from the logits that a recorded step left.
  void SamplePadded(const Batch& batch, const StepLayout& layout, StepOutput& output);
  absl::Status RunOutputs(const Batch& batch, const StepLayout& layout, StepOutput& output);
  // Logits of the rank's tokens (indices into Batch::tokens), [tokens.size(), vocab].
  absl::StatusOr<TensorView> Logits(std::span<const int32_t> tokens, const StepLayout& layout);
  TensorView LogitsOfRows(ConstTensorView index, int64_t residual_rows);
  absl::Status CountExperts(const StepLayout& layout, StepOutput& output);
  // StepOutput::Sampled::experts, where requests ask for them.
  absl::Status CollectExperts(const Batch& batch, const StepLayout& layout, StepOutput& output);
  // Of all layers, since the last call.
  ExpertCacheStats NewOffloadStats();

  const RankContext rank_;
  ModelWeights weights_;
  KvCache cache_;
  Workspace workspace_;
  StepIndex index_;
  RecordedSteps recorded_;
  std::optional<ExpertForecaster> forecaster_;  // where experts are offloaded
  ExpertCacheStats offload_stats_;              // at the end of the last step
  const int64_t max_rows_;                      // of the workspace
  const int64_t max_output_rows_;               // logits computed at a time
};

}  // namespace switchyard
