// The model on one rank: a batch in, drawn and scored tokens out. Written once over Backend and Communicator.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/batch.h"
#include "engine/kv_cache.h"
#include "engine/model/model_weights.h"
#include "engine/model/rank_context.h"
#include "engine/model/step_index.h"
#include "engine/model/workspace.h"
#include "engine/step_layout.h"

namespace switchyard {

struct DecoderLimits {
  int64_t max_batch_tokens = 0;
  int64_t max_sequences = 0;
  int64_t max_pages_per_sequence = 0;
};

// Used by the rank's thread only. Every rank runs the same batches in the same order.
class Decoder {
 public:
  // All activations are allocated here.
  static absl::StatusOr<std::unique_ptr<Decoder>> Create(const RankContext& rank, const DecoderLimits& limits,
                                                         ModelWeights weights, KvCache cache);

  absl::StatusOr<StepOutput> Step(const Batch& batch);

 private:
  Decoder(const RankContext& rank, ModelWeights weights, KvCache cache)
      : rank_(rank), weights_(std::move(weights)), cache_(std::move(cache)) {}

  absl::Status RunLayers(const Batch& batch, const StepLayout& layout, StepOutput& output);
  absl::Status RunOutputs(const Batch& batch, const StepLayout& layout, StepOutput& output);
  // Logits of the rank's tokens (indices into Batch::tokens), [tokens.size(), vocab].
  absl::StatusOr<TensorView> Logits(std::span<const int32_t> tokens, const StepLayout& layout);
  absl::Status CountExperts(const StepLayout& layout, StepOutput& output);
  TensorView ExpertsOfLayer(int64_t layer, int64_t tokens);

  const RankContext rank_;
  ModelWeights weights_;
  KvCache cache_;
  Workspace workspace_;
  StepIndex index_;
  int64_t max_rows_ = 0;         // of the workspace
  int64_t max_output_rows_ = 0;  // logits computed at a time
};

}  // namespace switchyard
