// Whole next-token distributions of one model, on one CPU rank: what the divergence between two models is computed
// from.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/engine_config.h"
#include "engine/engine_plan.h"
#include "engine/rank_worker.h"
#include "parallel/communicator.h"

namespace switchyard {

// Used from one thread at a time.
class DistributionModel {
 public:
  // `config` without its ranks, which count as one. INVALID_ARGUMENT if its device is not the CPU: GPUs give no more
  // than the most likely tokens.
  static absl::StatusOr<std::unique_ptr<DistributionModel>> Create(const EngineConfig& config,
                                                                   const LoadProgressCallback& progress);

  int64_t vocab_size() const { return checkpoint_->spec().vocab_size; }
  // log p(id | tokens[0..i]) for every i and id, [tokens, vocab]. INVALID_ARGUMENT if the tokens are more than the
  // context, or none of the vocabulary.
  absl::StatusOr<std::vector<float>> LogProbs(std::span<const int32_t> tokens);

 private:
  DistributionModel(std::unique_ptr<Checkpoint> checkpoint, EnginePlan plan)
      : checkpoint_(std::move(checkpoint)), plan_(std::move(plan)) {}

  const std::unique_ptr<Checkpoint> checkpoint_;
  const EnginePlan plan_;
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<RankWorker> worker_;
};

// The divergence of one model's distributions from another's, over the positions of some texts.
// Source: Kullback and Leibler 1951: D(p || q) = sum over ids of p (log p - log q), in nats.
class DivergenceMeter {
 public:
  // `reference` (p) and `other` (q) [tokens, vocab] of the same tokens.
  void Add(std::span<const float> reference, std::span<const float> other, int64_t vocab_size);

  int64_t num_positions() const { return num_positions_; }
  double mean() const { return num_positions_ > 0 ? sum_ / static_cast<double>(num_positions_) : 0; }
  double worst() const { return worst_; }  // of a position
  // Positions at which both find the same token most likely, as a share.
  double agreement() const {
    return num_positions_ > 0 ? static_cast<double>(num_agreeing_) / static_cast<double>(num_positions_) : 1;
  }

 private:
  int64_t num_positions_ = 0;
  int64_t num_agreeing_ = 0;
  double sum_ = 0;
  double worst_ = 0;
};

}  // namespace switchyard
