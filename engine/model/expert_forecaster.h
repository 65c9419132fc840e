// Which of this rank's experts the next layer will probably need: what its router says of this layer's input, as the
// residual stream changes little from one layer to the next. Source: Eliseev and Mazur 2023, arXiv:2312.17238.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/model_weights.h"
#include "engine/model/rank_context.h"

namespace switchyard {

// Used by the rank's thread only.
class ExpertForecaster {
 public:
  // `rank` is borrowed. Looks at no more than the first `max_rows` rows of a step.
  static absl::StatusOr<ExpertForecaster> Create(const RankContext& rank, int64_t max_rows);

  // `rows` are those that this rank's experts are given in the layer before `next`: those of other ranks are among
  // them. Waits for the device. Valid until the next call.
  absl::StatusOr<ExpertForecast> Forecast(const LayerWeights& next, const DispatchedRows& rows);

 private:
  explicit ExpertForecaster(const RankContext& rank);

  // Fills likely_ from experts_host_ and slots_host_.
  void RankLikely();

  const RankContext* rank_;
  std::vector<int> slot_of_expert_;  // [num_experts], local; -1: another rank's
  Tensor experts_;                   // int32 [max_rows, top_k]
  Tensor weights_;                   // float32 [max_rows, top_k]
  Tensor counts_;                    // int32 [num_experts]
  std::vector<int32_t> experts_host_;
  std::vector<int32_t> slots_host_;
  std::vector<int64_t> votes_;  // [local experts]: rows that would choose it
  std::vector<int> likely_;
};

}  // namespace switchyard
