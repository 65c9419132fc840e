// The last phase of RunExperts (experts.h). Bound: memory; y read once, out written once.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

struct SumExpertsArgs {
  DType dtype = DType::kBFloat16;
  int64_t num_rows = 0;  // at least 1
  int64_t top_k = 0;
  int64_t hidden_size = 0;         // a multiple of 8
  const int32_t* place = nullptr;  // [num_rows, top_k], entry of y; -1: none
  const void* y = nullptr;         // [entries, hidden]
  void* out = nullptr;             // [num_rows, hidden]
};

// out[r] = sum over k of y[place[r, k]], in float32 in order of k, rounded once; 0 where there is none.
void SumExperts(const SumExpertsArgs& args, Stream stream);

}  // namespace switchyard::cuda
