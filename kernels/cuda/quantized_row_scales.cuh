// The scales of a warp's 32 rows, section after section of kScaleColumns columns: lane 4 g + t reads those of row
// 8 t + g, one step before they are needed, and hands them to the lanes that share the row.
#pragma once

#include <cstdint>

#include "kernels/cuda/quantized_scales.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {

// The distance of row `row` where rows are `stride` apart, both below 2^31.
__device__ __forceinline__ uint64_t RowTimes(int32_t row, int64_t stride) {
  return static_cast<uint64_t>(static_cast<uint32_t>(row)) * static_cast<uint32_t>(stride);
}

// A scale in float32 and what the dequantiser takes for the zero point, of one row and group after group: Load asks
// for those of a group some groups after `next`, Scale and Zero make them of what it returned.
template <typename Weights, WeightFormat kFormat>
class RowScale;

template <typename Weights, WeightFormat kFormat>
requires(kFormat == WeightFormat::kInt4 || kFormat == WeightFormat::kInt8) class RowScale<Weights, kFormat> {
 public:
  static constexpr int kDefaultZero = kFormat == WeightFormat::kInt8 ? 128 : 8;

  __device__ RowScale(const QuantizedMatrix& matrix, int32_t row, int32_t group, const float* /*dynamic_map*/)
      : next_scale_(static_cast<const uint16_t*>(matrix.scales) + RowTimes(row, matrix.groups) + group),
        next_zero_(matrix.zeros + RowTimes(row, matrix.groups) + group),
        has_zeros_(matrix.zeros != nullptr) {}

  __device__ __forceinline__ bool has_zeros() const { return has_zeros_; }
  __device__ __forceinline__ uint32_t Load(int32_t after) const {
    const uint32_t scale = next_scale_[after];
    return has_zeros_ ? scale | uint32_t{next_zero_[after]} << 16 : scale;
  }
  __device__ __forceinline__ void Advance(int32_t groups) {
    next_scale_ += groups;
    next_zero_ += groups;
  }
  __device__ __forceinline__ float Scale(uint32_t loaded, int32_t /*group*/) const {
    return ToFloat(Float16{static_cast<uint16_t>(loaded)});
  }
  __device__ __forceinline__ uint32_t Zero(uint32_t loaded) const {
    return Weights::Zero(static_cast<int>(loaded >> 16));
  }

 private:
  const uint16_t* next_scale_;
  const uint8_t* next_zero_;
  bool has_zeros_;
};

template <typename Weights>
class RowScale<Weights, WeightFormat::kNf4> {
 public:
  static constexpr int kDefaultZero = 0;

  __device__ RowScale(const QuantizedMatrix& matrix, int32_t row, int32_t group, const float* dynamic_map)
      : is_nested_(matrix.nested_scale != nullptr), dynamic_map_(dynamic_map) {
    const uint64_t index = RowTimes(row, matrix.groups) + group;
    next_ = static_cast<const uint8_t*>(matrix.scales) + (is_nested_ ? index : index * sizeof(float));
    if (!is_nested_) return;
    nested_scales_ = matrix.nested_scale + RowTimes(row, matrix.nested_scales);
    change_ = matrix.nested_change[row];
    offset_ = matrix.nested_offset[row];
    last_nested_ = static_cast<int32_t>(matrix.nested_scales) - 1;
  }

  __device__ __forceinline__ bool has_zeros() const { return false; }
  __device__ __forceinline__ uint32_t Load(int32_t after) const {
    return is_nested_ ? uint32_t{next_[after]} : reinterpret_cast<const uint32_t*>(next_)[after];
  }
  __device__ __forceinline__ void Advance(int32_t groups) {
    next_ += is_nested_ ? groups : groups * static_cast<int32_t>(sizeof(float));
  }
  // `group` does not decrease from call to call.
  __device__ __forceinline__ float Scale(uint32_t loaded, int32_t group) {
    if (!is_nested_) return __uint_as_float(loaded);
    if (group >= end_of_nested_) {
      // kNestedBlock groups share a scale. The groups that pad a row may lie beyond the last.
      const int32_t nested = group < change_ ? 0 : 1 + (group - change_) / 256;
      end_of_nested_ = change_ + nested * 256;
      nested_ = nested_scales_[min(nested, last_nested_)];
    }
    // Rounded twice, as bitsandbytes and the CPU do.
    return __fadd_rn(__fmul_rn(dynamic_map_[loaded], nested_), offset_);
  }
  __device__ __forceinline__ uint32_t Zero(uint32_t /*loaded*/) const { return 0; }

 private:
  bool is_nested_;
  const uint8_t* next_;  // code, or scale in float32
  const float* dynamic_map_;
  const float* nested_scales_ = nullptr;
  float nested_ = 0;
  float offset_ = 0;
  int32_t change_ = 0;
  int32_t last_nested_ = 0;
  int32_t end_of_nested_ = 0;
};

// `Weights` is the format's dequantiser, kSections the sections of a step.
template <typename Weights, WeightFormat kFormat, int kSections>
class RowScales {
 public:
  // From step `step` on. `row` is this lane's row of the matrix; 2^shift sections share a scale.
  __device__ RowScales(const QuantizedMatrix& matrix, int32_t row, int32_t shift, const float* dynamic_map,
                       int32_t step)
      : row_(matrix, row, step * kSections >> shift, dynamic_map), shift_(shift), step_(step) {
    Load();
  }

  // Moves to the next step, the first one when it is called first; asks for the one after if there `is_more`.
  __device__ __forceinline__ void Next(bool is_more) {
#pragma unroll
    for (int s = 0; s < kSections; ++s) {
      scales_[s] = row_.Scale(loaded_[s], GroupOf(s));
      zeros_[s] = row_.Zero(loaded_[s]);
    }
    const int32_t group = GroupOf(0);
    ++step_;
    if (!is_more) return;
    row_.Advance(GroupOf(0) - group);
    Load();
  }

  // Of rows g, g + 8, g + 16 and g + 24 (g = lane / 4) in a section of the step. All lanes together.
  __device__ __forceinline__ void Read(int section, float (&scales)[4], uint32_t (&zeros)[4]) const {
    const int first = static_cast<int>(threadIdx.x) % kWarpSize & ~3;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scales[i] = __shfl_sync(kFullWarp, scales_[section], first + i);
      zeros[i] = Weights::Zero(RowScale<Weights, kFormat>::kDefaultZero);
    }
    if (!row_.has_zeros()) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) zeros[i] = __shfl_sync(kFullWarp, zeros_[section], first + i);
  }

 private:
  __device__ __forceinline__ int32_t GroupOf(int section) const { return step_ * kSections + section >> shift_; }
  __device__ __forceinline__ void Load() {
#pragma unroll
    for (int s = 0; s < kSections; ++s) loaded_[s] = row_.Load(GroupOf(s) - GroupOf(0));
  }

  RowScale<Weights, kFormat> row_;
  int32_t shift_;
  int32_t step_;  // that loaded_ is of
  uint32_t loaded_[kSections];
  float scales_[kSections];
  uint32_t zeros_[kSections];
};

}  // namespace switchyard::cuda
