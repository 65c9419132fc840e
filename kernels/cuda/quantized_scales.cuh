// Reading the scales and single codes of quantized_matrix.h on the device.
#pragma once

#include <cstdint>

#include "kernels/cuda/half.cuh"
#include "kernels/cuda/quantized_matrix.h"
#include "kernels/quantization/quantized_rows.h"

namespace switchyard::cuda {

// Of expert `index`: all parts moved by as many strides.
__device__ __forceinline__ QuantizedMatrix MatrixAt(const QuantizedMatrix& first, int32_t index) {
  QuantizedMatrix matrix = first;
  const size_t offset = static_cast<size_t>(index) * first.stride;
  const auto move = [offset](auto* pointer) {
    return reinterpret_cast<decltype(pointer)>(reinterpret_cast<const unsigned char*>(pointer) + offset);
  };
  matrix.codes = move(first.codes);
  matrix.scales = move(static_cast<const unsigned char*>(first.scales));
  if (first.zeros != nullptr) matrix.zeros = move(first.zeros);
  if (first.nested_scale != nullptr) {
    matrix.nested_scale = move(first.nested_scale);
    matrix.nested_offset = move(first.nested_offset);
    matrix.nested_change = move(first.nested_change);
  }
  if (first.column_place != nullptr) matrix.column_place = move(first.column_place);
  return matrix;
}

// Of integers whose matrix has no zero points.
template <WeightFormat kFormat>
inline constexpr uint32_t kDefaultZero = kFormat == WeightFormat::kInt8 ? 128 : 8;

// Double-quantised scales, as NestedScales (quantized_rows.h) defines them: which of its row's nested scales group
// `group` has, beyond the last one perhaps in groups that pad a row; and the scale.
__device__ __forceinline__ int32_t NestedOf(int32_t group, int32_t change) {
  return group < change ? 0 : 1 + (group - change) / static_cast<int32_t>(kNestedBlock);
}
// Rounded twice, as bitsandbytes and the CPU do.
__device__ __forceinline__ float ScaleOf(float of_code, float nested_scale, float offset) {
  return __fadd_rn(__fmul_rn(of_code, nested_scale), offset);
}

// Reads scales of one row in two steps, so that memory is asked early: Load, and Finish where the value is needed. The
// word that Finish makes is what lanes may hand to each other.
template <WeightFormat kFormat>
class ScaleReader;

// kInt4 and kInt8: the word is the float16 scale and above it the zero point.
template <WeightFormat kFormat>
requires(kFormat == WeightFormat::kInt4 || kFormat == WeightFormat::kInt8) class ScaleReader<kFormat> {
 public:
  ScaleReader() = default;
  __device__ ScaleReader(const QuantizedMatrix& matrix, int32_t row)
      : first_(row * static_cast<int32_t>(matrix.groups)) {}

  __device__ __forceinline__ uint32_t Load(const QuantizedMatrix& matrix, int32_t group) const {
    const uint32_t zero = matrix.zeros == nullptr ? kDefaultZero<kFormat> : uint32_t{matrix.zeros[first_ + group]};
    return static_cast<const uint16_t*>(matrix.scales)[first_ + group] | zero << 16;
  }
  __device__ __forceinline__ uint32_t Finish(const QuantizedMatrix& /*matrix*/, const float* /*dynamic_map*/,
                                             uint32_t loaded, int32_t /*group*/) const {
    return loaded;
  }
  static __device__ __forceinline__ float Scale(uint32_t word) { return ToFloat(Float16{static_cast<uint16_t>(word)}); }
  static __device__ __forceinline__ int Zero(uint32_t word) { return static_cast<int>(word >> 16); }

 private:
  int32_t first_;
};

// kNf4: the word is the scale in float32.
template <>
class ScaleReader<WeightFormat::kNf4> {
 public:
  ScaleReader() = default;
  __device__ ScaleReader(const QuantizedMatrix& matrix, int32_t row)
      : first_(row * static_cast<int32_t>(matrix.groups)) {
    if (matrix.nested_scale == nullptr) return;
    first_nested_ = row * static_cast<int32_t>(matrix.nested_scales);
    change_ = matrix.nested_change[row];
    offset_ = matrix.nested_offset[row];
  }

  __device__ __forceinline__ uint32_t Load(const QuantizedMatrix& matrix, int32_t group) const {
    return matrix.nested_scale == nullptr ? static_cast<const uint32_t*>(matrix.scales)[first_ + group]
                                          : uint32_t{static_cast<const uint8_t*>(matrix.scales)[first_ + group]};
  }
  // `dynamic_map` may be a copy in shared memory.
  __device__ __forceinline__ uint32_t Finish(const QuantizedMatrix& matrix, const float* dynamic_map, uint32_t loaded,
                                             int32_t group) const {
    if (matrix.nested_scale == nullptr) return loaded;
    const int32_t nested = min(NestedOf(group, change_), static_cast<int32_t>(matrix.nested_scales) - 1);
    return __float_as_uint(ScaleOf(dynamic_map[loaded], matrix.nested_scale[first_nested_ + nested], offset_));
  }
  static __device__ __forceinline__ float Scale(uint32_t word) { return __uint_as_float(word); }
  static __device__ __forceinline__ int Zero(uint32_t /*word*/) { return 0; }

 private:
  int32_t first_;
  int32_t first_nested_;
  int32_t change_;
  float offset_;
};

// Where the code of column `column` lies in a row, in bits.
template <WeightFormat kFormat>
__device__ __forceinline__ int32_t CodeBit(int32_t column) {
  if constexpr (kFormat == WeightFormat::kInt8) return column * 8;
  const int32_t in_block = column % 128;
  const int32_t chunk = in_block % 64 / 16;
  const int32_t word = in_block / 64 * 2 + in_block % 16 / 8;
  const int32_t in_word = column % 8;
  const int32_t nibble = kFormat == WeightFormat::kInt4 ? in_word / 2 + in_word % 2 * 4 : in_word;
  return column / 128 * (kBlockBytes * 8) + chunk * (kChunkBytes * 8) + word * 32 + nibble * 4;
}

}  // namespace switchyard::cuda
