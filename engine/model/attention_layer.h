// Attention of one layer on one rank: normalised tokens in, the rank's addition to the residual stream out.
//
// kDivided, kReplicated   normed [t, hidden] -> qkv -> pages, paged attention -> output projection
//                         (kReplicated with split heads: all-reduce of the projections)
// kSliced                 all-gather of the slices first, reduce-scatter into slices last: the same bytes as one
//                         all-reduce, and no rank norms, routes or adds a token twice
#pragma once

#include "absl/status/statusor.h"
#include "engine/model/model_weights.h"
#include "engine/model/rank_context.h"
#include "engine/model/step_index.h"
#include "engine/model/workspace.h"
#include "engine/step_layout.h"

namespace switchyard {

// Reads workspace.normed (rows of layout.residual) and returns the addition to those rows, [residual, hidden], in
// workspace.delta.
absl::StatusOr<TensorView> RunAttentionLayer(const RankContext& rank, const LayerWeights& weights,
                                             const StepLayout& layout, const AttentionIndex& index,
                                             const KvPages& pages, Workspace& workspace);

}  // namespace switchyard
