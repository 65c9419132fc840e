// The choice of experts from router logits, on one thread.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace switchyard {

// logits [num_experts] of one token; experts, weights [top_k] as Backend::Route says. Where logits are NaN the experts
// are still distinct and in range, and the weights NaN.
void SelectExperts(const RouterSpec& spec, const float* logits, int32_t* experts, float* weights);

}  // namespace switchyard
