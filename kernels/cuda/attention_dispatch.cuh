// From the types and the head size of a PagedAttention to the instance of a kernel.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention.h"
#include "kernels/float8.h"

namespace switchyard::cuda {

// Calls `f` with a value of q's type, one of the type of keys and values, and kDim as an integral_constant.
template <typename F>
void DispatchAttention(const PagedAttentionArgs& args, F&& f) {
  DispatchHalf(args.dtype, [&](auto type) {
    const auto with_element = [&](auto element) {
      if (args.head_dim <= 64) {
        f(type, element, std::integral_constant<int, 64>());
      } else if (args.head_dim <= 128) {
        f(type, element, std::integral_constant<int, 128>());
      } else {
        f(type, element, std::integral_constant<int, 256>());
      }
    };
    if (!args.kv_dtype.has_value()) {
      with_element(type);
    } else if (*args.kv_dtype == DType::kFloat8E4M3) {
      with_element(Float8E4M3{});
    } else {
      CHECK(*args.kv_dtype == DType::kInt8);
      with_element(int8_t{});
    }
  });
}

}  // namespace switchyard::cuda
