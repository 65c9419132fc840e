// The mixture of experts of one layer on one rank: route, dispatch, local experts, combine.
#pragma once

#include "absl/status/statusor.h"
#include "engine/model/expert_forecaster.h"
#include "engine/model/model_weights.h"
#include "engine/model/rank_context.h"
#include "engine/model/workspace.h"
#include "engine/step_layout.h"

namespace switchyard {

// Seconds on the host. Where work is queued only, they say how long the queueing took: not reported for GPUs.
struct MoeTimes {
  double dispatch = 0;
  double experts = 0;
  double combine = 0;
};

struct MoeLayerArgs {
  int64_t layer = 0;
  const LayerWeights& weights;
  const LayerWeights* next = nullptr;  // the layer after this one; null: there is none
  const StepLayout& layout;
  ExchangeStrategy exchange;
  ConstTensorView num_valid;  // int32 [1] on the device: rows from there on are padding; no data: none are
  TensorView counts;          // int32 [experts]: the tokens that chose each expert are added
};

// Reads workspace.normed (rows of layout.residual) and returns the addition to those rows, [residual rows, hidden],
// valid until the next layer. `forecaster`, where there is one, guesses what the next layer will need. Times are added
// to `times`.
absl::StatusOr<TensorView> RunMoeLayer(const RankContext& rank, const MoeLayerArgs& args, Workspace& workspace,
                                       ExpertForecaster* forecaster, MoeTimes& times);

}  // namespace switchyard
