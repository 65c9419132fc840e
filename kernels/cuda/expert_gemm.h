// The two grouped products of RunExperts (experts.h) over the entries of a permutation, in their two forms.
#pragma once

#include <cstdint>

#include "kernels/cuda/expert_permutation.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

enum class ExpertProduct {
  kGateUp,  // y[entry] = silu(w1 x[entry_row]) * w3 x[entry_row]
  kDown,    // y[entry] = entry_weight * w2 x[entry]
};

struct ExpertGemmArgs {
  DType dtype = DType::kBFloat16;
  ExpertProduct product = ExpertProduct::kGateUp;
  int64_t in_features = 0;        // a multiple of 8
  int64_t out_features = 0;       // a multiple of 8
  const void* x = nullptr;        // gate-up: [rows, in_features]; down: [entries, in_features]
  const void* weights = nullptr;  // gate-up: [experts, 2 * out_features, in_features]: w1 rows, then w3 rows;
                                  // down: [experts, out_features, in_features]
  void* y = nullptr;              // [entries, out_features]
  ExpertPermutation permutation;  // with at least one pair and one expert
  int num_multiprocessors = 1;
};

// Weights pass through a multiprocessor once per 32 entries (8 where the step has no more pairs).
void StreamingExpertGemm(const ExpertGemmArgs& args, Stream stream);
// Tiles of kExpertTileRows entries by 256 rows of the weights, or by 128 where there are few tiles.
void TiledExpertGemm(const ExpertGemmArgs& args, Stream stream);

}  // namespace switchyard::cuda
