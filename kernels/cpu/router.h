// The choice of experts from router logits, on one thread.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace switchyard {

// logits [num_experts] of one token; experts, weights [top_k] as Backend::Route says. Where logits are NaN the experts
// are still distinct and in range, and the weights NaN.
void SelectExperts(const RouterSpec& spec, const float* logits, int32_t* experts, float* weights);

// Adds the choices of the first num_valid rows (all without it) to the counts; the rows behind become padding.
void CountAndMaskExperts(const RouterSpec& spec, int64_t num_tokens, ConstTensorView num_valid,
                         const RouterOutput& out);

}  // namespace switchyard
