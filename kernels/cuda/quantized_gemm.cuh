// What both forms of the quantised products share on the device.
#pragma once

#include <cstdint>

#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/expert_gemm.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantized_gemm.h"
#include "kernels/cuda/quantized_matrix.h"

namespace switchyard::cuda {

struct QuantizedGemmParams : ExpertLists {
  QuantizedGemmParams(const QuantizedGemmArgs& args, const Nf4Halves& nf4_halves)
      : ExpertLists(args.permutation),
        weights(args.weights),
        nf4(nf4_halves),
        in_features(static_cast<int32_t>(args.weights.columns)),
        out_features(static_cast<int32_t>(args.out_features())),
        num_entries(static_cast<int32_t>(args.permutation.num_pairs)),
        scale_shift(args.weights.quantization.group_size == kScaleColumns ? 0 : 1),
        has_float_y(args.y_dtype == DType::kFloat32),
        x(args.x),
        x_row(args.x_row),
        entry_weight(args.weight),
        y(args.y),
        y_place(args.y_place),
        y_place_stride(args.y_place_stride) {}

  QuantizedMatrix weights;
  Nf4Halves nf4;
  int32_t in_features;
  int32_t out_features;
  int32_t num_entries;  // where offsets is null
  int32_t scale_shift;  // from sections of kScaleColumns columns to groups
  bool has_float_y;
  const void* x;
  const int32_t* x_row;
  const float* entry_weight;
  void* y;
  const int32_t* y_place;
  int64_t y_place_stride;
};

// Writes feature `feature` of entry `entry`, an entry of the matrix in place `place`.
template <typename T>
__device__ __forceinline__ void StoreResult(const QuantizedGemmParams& p, int32_t place, int32_t entry, int32_t feature,
                                            float y) {
  const int32_t to = p.y_place == nullptr ? feature : p.y_place[place * p.y_place_stride + feature];
  const int64_t at = int64_t{entry} * p.out_features + to;
  if (p.has_float_y) {
    static_cast<float*>(p.y)[at] = y;
  } else {
    static_cast<T*>(p.y)[at] = FromFloat<T>(y);
  }
}

// Calls `f.template operator()<T, kFormat>()` for the element type and the format of `args`, which it checks.
template <typename F>
void DispatchQuantizedGemm(const QuantizedGemmArgs& args, F&& f) {
  CHECK(args.permutation.num_pairs > 0 && args.out_features() > 0);
  CHECK_EQ(args.weights.columns % 8, 0);
  DispatchHalf(args.dtype, [&](auto half) {
    using T = decltype(half);
    switch (args.weights.quantization.format) {
      case WeightFormat::kNf4:
        return f.template operator()<T, WeightFormat::kNf4>();
      case WeightFormat::kInt4:
        return f.template operator()<T, WeightFormat::kInt4>();
      case WeightFormat::kInt8:
        return f.template operator()<T, WeightFormat::kInt8>();
      case WeightFormat::kDense:
        CHECK(false);
    }
  });
}

}  // namespace switchyard::cuda
