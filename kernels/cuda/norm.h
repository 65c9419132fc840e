// RMSNorm, alone and fused with the addition to the residual stream before it. Reference: kernels/cpu/norm.h.
//
//   out = x / sqrt(mean(x^2) + eps) * weight          Source: Zhang and Sennrich 2019, arXiv:1910.07467.
//
// Bound: memory. RmsNorm moves 4 hidden + 2 hidden bytes per token, AddRmsNorm 2 + 4 + 4 + 2 hidden.
// hidden is a multiple of 8, at most kMaxHiddenSize; pointers are aligned to 16 bytes.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

inline constexpr int64_t kMaxHiddenSize = 32768;

struct RmsNormArgs {
  DType dtype = DType::kBFloat16;  // of delta and out
  int64_t num_tokens = 0;
  int64_t hidden_size = 0;
  float eps = 0;
  // [hidden]. Read before the kernel ahead in the stream has ended, which must not write it (dependency.cuh).
  const float* weight = nullptr;
};

// x [tokens, hidden] -> out [tokens, hidden].
void RmsNorm(const RmsNormArgs& args, const float* x, void* out, Stream stream);
// residual [tokens, hidden] += delta [tokens, hidden]; then out = RmsNorm(residual).
void AddRmsNorm(const RmsNormArgs& args, const void* delta, float* residual, void* out, Stream stream);

}  // namespace switchyard::cuda
