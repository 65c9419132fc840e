// The mixture of experts of one layer on one rank: route, dispatch, local experts, combine.
#pragma once

#include "absl/status/statusor.h"
#include "engine/batch.h"
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

// Reads workspace.normed (rows of layout.residual) and returns the addition to those rows, [residual rows, hidden],
// valid until the next layer. num_valid int32 [1] on the device: rows from there on are padding (no data: none are).
// The tokens that chose each expert are added to `counts`, int32 [experts]; times to `times`.
absl::StatusOr<TensorView> RunMoeLayer(const RankContext& rank, const LayerWeights& weights, const StepLayout& layout,
                                       ExchangeStrategy exchange, ConstTensorView num_valid, TensorView counts,
                                       Workspace& workspace, MoeTimes& times);

}  // namespace switchyard
