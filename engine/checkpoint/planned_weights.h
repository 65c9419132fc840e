// One rank's weights, made after its LoadPlan and paired with it.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/load_plan.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/model_weights.h"
#include "kernels/backend.h"

namespace switchyard {

// Every weight at its full size; nothing is written, so that a backend may count instead of allocate. Errors name the
// weight.
absl::StatusOr<ModelWeights> CreatePlannedWeights(const DecoderSpec& spec, const LoadPlan& plan, Backend& backend);

struct PlannedMatrix {
  const StackedSlices* source;
  Matrix* weight;
};
struct PlannedVector {
  const TensorSlice* source;
  Tensor* weight;
};

// Borrows the plan and the weights.
struct PlannedWeights {
  std::vector<PlannedMatrix> matrices;
  std::vector<PlannedVector> norms;
};

// `weights` must have been made after `plan`. A tied head is the embedding and occurs once.
PlannedWeights PairWithPlan(const LoadPlan& plan, ModelWeights& weights);

// "<what> for 'model.norm.weight': ...".
absl::Status Annotate(absl::string_view what, const TensorLocation& tensor, const absl::Status& status);

}  // namespace switchyard
