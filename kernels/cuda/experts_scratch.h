// The scratch memory of RunExperts (experts.h), divided. Plain C++, so that plans count it without CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/expert_permutation.h"

namespace switchyard::cuda {

struct ExpertsScratch {
  ExpertPermutation permutation;
  void* act = nullptr;  // [num_pairs, intermediate]
  void* y = nullptr;    // [num_pairs, hidden]
  size_t bytes = 0;     // of all; grows with every argument
};

// `base` is aligned to 16 bytes; null to learn the size alone.
ExpertsScratch DivideExpertsScratch(int64_t num_rows, int64_t top_k, int64_t hidden_size, int64_t intermediate_size,
                                    int64_t num_local_experts, void* base);

}  // namespace switchyard::cuda
