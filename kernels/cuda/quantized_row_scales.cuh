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

// `part` of the matrix that lies `offset` bytes after `first`.
template <typename T>
__device__ __forceinline__ const T* PartAt(const void* part, uint64_t offset) {
  return reinterpret_cast<const T*>(static_cast<const unsigned char*>(part) + offset);
}

// A scale in float32 and what the dequantiser takes for the zero point, of one row and group after group. Load asks for
// those of a group some groups after the present one, AskForRow for what holds for the whole row; both wait for
// nothing, Scale and Zero do.
template <typename Weights, WeightFormat kFormat>
class RowScale;

template <typename Weights, WeightFormat kFormat>
requires(kFormat == WeightFormat::kInt4 || kFormat == WeightFormat::kInt8) class RowScale<Weights, kFormat> {
 public:
  static constexpr bool kHasZeros = true;
  struct Loaded {
    uint32_t scale = 0;
    uint32_t zero = kDefaultZero<kFormat>;
  };
  struct OfRow {};

  __device__ RowScale(const QuantizedMatrix& first, uint64_t offset, int32_t row, int32_t group,
                      const float* /*dynamic_map*/)
      : has_zeros_(first.zeros != nullptr) {
    const uint64_t index = RowTimes(row, first.groups) + static_cast<uint32_t>(group);
    next_scale_ = PartAt<uint16_t>(first.scales, offset) + index;
    if (has_zeros_) next_zero_ = PartAt<uint8_t>(first.zeros, offset) + index;
  }

  __device__ __forceinline__ OfRow AskForRow() const { return {}; }
  __device__ __forceinline__ void Load(int32_t after, Loaded& loaded) const {
    loaded.scale = next_scale_[after];
    if (has_zeros_) loaded.zero = next_zero_[after];
  }
  __device__ __forceinline__ void Advance(int32_t groups) {
    next_scale_ += groups;
    if (has_zeros_) next_zero_ += groups;
  }
  __device__ __forceinline__ float Scale(const Loaded& loaded, const OfRow& /*row*/, int32_t /*group*/) const {
    return ToFloat(Float16{static_cast<uint16_t>(loaded.scale)});
  }
  static __device__ __forceinline__ uint32_t Zero(const Loaded& loaded) {
    return Weights::Zero(static_cast<int>(loaded.zero));
  }

 private:
  bool has_zeros_;
  const uint16_t* next_scale_;
  const uint8_t* next_zero_ = nullptr;
};

template <typename Weights>
class RowScale<Weights, WeightFormat::kNf4> {
 public:
  static constexpr bool kHasZeros = false;
  using Loaded = uint32_t;
  struct OfRow {
    float offset = 0;
    int32_t change = 0;
  };

  __device__ RowScale(const QuantizedMatrix& first, uint64_t offset, int32_t row, int32_t group,
                      const float* dynamic_map)
      : is_nested_(first.nested_scale != nullptr), dynamic_map_(dynamic_map) {
    const uint64_t index = RowTimes(row, first.groups) + static_cast<uint32_t>(group);
    next_ = PartAt<uint8_t>(first.scales, offset) + (is_nested_ ? index : index * sizeof(float));
    if (!is_nested_) return;
    nested_scales_ = PartAt<float>(first.nested_scale, offset) + RowTimes(row, first.nested_scales);
    last_nested_ = static_cast<int32_t>(first.nested_scales) - 1;
    offset_ = PartAt<float>(first.nested_offset, offset) + row;
    change_ = PartAt<int32_t>(first.nested_change, offset) + row;
  }

  __device__ __forceinline__ OfRow AskForRow() const {
    OfRow of_row;
    if (is_nested_) of_row = {*offset_, *change_};
    return of_row;
  }
  __device__ __forceinline__ void Load(int32_t after, Loaded& loaded) const {
    loaded = is_nested_ ? uint32_t{next_[after]} : reinterpret_cast<const uint32_t*>(next_)[after];
  }
  __device__ __forceinline__ void Advance(int32_t groups) {
    next_ += is_nested_ ? groups : groups * static_cast<int32_t>(sizeof(float));
  }
  // `group` does not decrease from call to call.
  __device__ __forceinline__ float Scale(Loaded loaded, const OfRow& of_row, int32_t group) {
    if (!is_nested_) return __uint_as_float(loaded);
    if (group >= end_of_nested_) {
      const int32_t nested = NestedOf(group, of_row.change);
      end_of_nested_ = of_row.change + nested * static_cast<int32_t>(kNestedBlock);
      nested_ = nested_scales_[min(nested, last_nested_)];
    }
    return ScaleOf(dynamic_map_[loaded], nested_, of_row.offset);
  }
  static __device__ __forceinline__ uint32_t Zero(Loaded /*loaded*/) { return 0; }

 private:
  bool is_nested_;
  const uint8_t* next_;  // code, or scale in float32
  const float* dynamic_map_;
  const float* nested_scales_ = nullptr;
  const float* offset_ = nullptr;
  const int32_t* change_ = nullptr;
  float nested_ = 0;
  int32_t last_nested_ = 0;
  int32_t end_of_nested_ = 0;
};

// `Weights` is the format's dequantiser, kSections (1 or 2) the sections of a step.
template <typename Weights, WeightFormat kFormat, int kSections>
class RowScales {
 public:
  // What is asked for ahead: few registers, for it is kept while another row's scales are used.
  struct First {
    typename RowScale<Weights, kFormat>::OfRow of_row;
    typename RowScale<Weights, kFormat>::Loaded loaded[kSections];
  };

  // Of the matrix in place `place` of those that begin at `first`, from step `step` on. `row` is this lane's row;
  // 2^shift sections (1 or 2) share a scale. Next follows an Ask, of this object or of an equal one.
  __device__ RowScales(const QuantizedMatrix& first, int32_t place, int32_t row, int32_t shift,
                       const float* dynamic_map, int32_t step)
      : shift_(shift),
        step_(step),
        group_(step * kSections >> shift),
        row_(first, static_cast<uint32_t>(place) * uint64_t{first.stride}, row, group_, dynamic_map) {}

  __device__ __forceinline__ First Ask() const {
    First asked;
    asked.of_row = row_.AskForRow();
    Load(asked);
    return asked;
  }

  // Moves to the next step, the first one when it is called first, whose scales `asked` has; asks for those of the one
  // after if there `is_more`.
  __device__ __forceinline__ void Next(bool is_more, First& asked) {
#pragma unroll
    for (int s = 0; s < kSections; ++s) {
      scales_[s] = row_.Scale(asked.loaded[s], asked.of_row, group_ + s * (1 >> shift_));
      zeros_[s] = row_.Zero(asked.loaded[s]);
    }
    const int32_t groups = kSections == 2 ? 2 >> shift_ : shift_ == 0 ? 1 : step_ & 1;
    ++step_;
    group_ += groups;
    row_.Advance(groups);
    if (is_more) Load(asked);
  }

  // Of rows g, g + 8, g + 16 and g + 24 (g = lane / 4) in a section of the step. All lanes together.
  __device__ __forceinline__ void Read(int section, float (&scales)[4], uint32_t (&zeros)[4]) const {
    const int first = static_cast<int>(threadIdx.x) % kWarpSize & ~3;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scales[i] = __shfl_sync(kFullWarp, scales_[section], first + i);
      zeros[i] = Row::kHasZeros ? __shfl_sync(kFullWarp, zeros_[section], first + i) : 0;
    }
  }

 private:
  using Row = RowScale<Weights, kFormat>;

  __device__ __forceinline__ void Load(First& asked) const {
#pragma unroll
    for (int s = 0; s < kSections; ++s) row_.Load(s * (1 >> shift_), asked.loaded[s]);
  }

  int32_t shift_;
  int32_t step_;   // that is asked for
  int32_t group_;  // of its first section
  Row row_;
  float scales_[kSections];
  uint32_t zeros_[kSections];
};

}  // namespace switchyard::cuda
