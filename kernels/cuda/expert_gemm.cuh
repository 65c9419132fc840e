// What both forms of the expert products share on the device.
#pragma once

#include <cstdint>

#include "kernels/cuda/expert_gemm.h"
#include "kernels/cuda/launch.cuh"

namespace switchyard::cuda {

// What the products read of an ExpertPermutation.
struct ExpertLists {
  explicit ExpertLists(const ExpertPermutation& permutation)
      : offsets(permutation.offsets),
        active_experts(permutation.active_experts),
        tile_begin(permutation.tile_begin),
        tile_expert(permutation.tile_expert),
        expert_place(permutation.expert_place) {}

  const int32_t* offsets;
  const int32_t* active_experts;
  const int32_t* tile_begin;
  const int32_t* tile_expert;
  const int32_t* expert_place;
};

template <typename T>
struct ExpertGemmParams : ExpertLists {
  explicit ExpertGemmParams(const ExpertGemmArgs& args)
      : ExpertLists(args.permutation),
        in_features(static_cast<int32_t>(args.in_features)),
        out_features(static_cast<int32_t>(args.out_features)),
        x(static_cast<const T*>(args.x)),
        weights(static_cast<const T*>(args.weights)),
        y(static_cast<T*>(args.y)),
        entry_row(args.permutation.entry_row),
        entry_weight(args.permutation.entry_weight) {}

  int32_t in_features;
  int32_t out_features;
  const T* x;
  const T* weights;
  T* y;
  const int32_t* entry_row;
  const float* entry_weight;
};

// ExpertPermutation::expert_place of one expert.
__device__ __forceinline__ int32_t PlaceOf(const int32_t* expert_place, int32_t expert) {
  return expert_place == nullptr ? expert : expert_place[expert];
}

// silu(gate) * up with silu(z) = z / (1 + exp(-z)). Source: Elfwing et al. 2017, arXiv:1702.03118.
__device__ __forceinline__ float SiluMultiply(float gate, float up) {
  return __fdividef(gate, 1.0f + __expf(-gate)) * up;
}

// Calls `f.template operator()<T, kProduct>()` for the element type and the product of `args`.
template <typename F>
void DispatchExpertGemm(const ExpertGemmArgs& args, F&& f) {
  DispatchHalf(args.dtype, [&](auto half) {
    using T = decltype(half);
    if (args.product == ExpertProduct::kGateUp) {
      f.template operator()<T, ExpertProduct::kGateUp>();
    } else {
      f.template operator()<T, ExpertProduct::kDown>();
    }
  });
}

}  // namespace switchyard::cuda
