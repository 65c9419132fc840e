// The router: logits in float32, softmax over experts, top-k, renormalisation and counts in one launch.
// Reference: kernels/cpu/router.h.
//
//   p = softmax(x W^T); the top_k largest p, descending, lowest expert first among equals; divided by their sum if
//   `renormalize`.
// Products are exact and summed in float32, also where tensor cores sum them.
// Bound: memory; 2 hidden bytes per token, and W once per block from the L2 cache.
// Up to 512 experts, top_k up to 16; hidden is a multiple of 8; x and W are aligned to 16 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

struct RouteArgs {
  DType dtype = DType::kBFloat16;  // of x and router
  int64_t num_tokens = 0;
  int64_t hidden_size = 0;
  int64_t num_experts = 0;
  int64_t top_k = 0;
  bool renormalize = true;
  const void* x = nullptr;             // [tokens, hidden]
  const void* router = nullptr;        // [num_experts, hidden]
  const int32_t* num_valid = nullptr;  // [1]: rows from there on are padding; null: none are
  int32_t* experts = nullptr;          // [tokens, top_k]; -1 in padding rows
  float* weights = nullptr;            // [tokens, top_k]; 0 in padding rows
  int32_t* counts = nullptr;           // [num_experts], added to
  // RouteScratchBytes, aligned to 16 bytes, zero before the first call; every call leaves it fit for the next. With it
  // the experts of a few tokens are divided among blocks; null: each block computes all experts of its tokens.
  void* scratch = nullptr;
};

// For any number of tokens.
size_t RouteScratchBytes(int64_t num_experts);

void Route(const RouteArgs& args, Stream stream);

}  // namespace switchyard::cuda
