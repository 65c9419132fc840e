// The form of PermuteExperts for a step of decoding: few pairs, few experts. Bound: latency.
#pragma once

#include "kernels/cuda/expert_permutation.h"
#include "kernels/cuda/stream.h"

namespace switchyard::cuda {

// Up to 1,024 pairs and 32 local experts.
bool IsPermutationOfFew(const ExpertPermutation& permutation);

// PermuteExperts() where IsPermutationOfFew() holds.
void PermuteFewExperts(const PermuteExpertsArgs& args, Stream stream);

}  // namespace switchyard::cuda
