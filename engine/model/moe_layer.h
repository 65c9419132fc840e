// The mixture of experts of one layer on one rank: route, dispatch, local experts, combine.
#pragma once

#include "absl/status/statusor.h"
#include "engine/batch.h"
#include "engine/model/model_weights.h"
#include "engine/model/rank_context.h"
#include "engine/model/workspace.h"
#include "engine/step_layout.h"

namespace switchyard {

// Reads workspace.normed (rows of layout.residual) and returns the addition to those rows, [residual, hidden], valid
// until the next layer. The chosen experts go to `experts`, int32 [residual, top_k]; times are added to `output`.
absl::StatusOr<TensorView> RunMoeLayer(const RankContext& rank, const LayerWeights& weights, const StepLayout& layout,
                                       ExchangeStrategy exchange, TensorView experts, Workspace& workspace,
                                       StepOutput& output);

}  // namespace switchyard
