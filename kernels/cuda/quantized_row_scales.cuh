// The scales of a warp's 32 rows, section after section of kScaleColumns columns: lane 4 g + t reads those of row
// 8 t + g, one step before they are needed, and hands them to the lanes that share the row.
#pragma once

#include <cstdint>

#include "kernels/cuda/quantized_scales.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {

// `Weights` is the format's dequantiser, kSections the sections of a step.
template <typename Weights, WeightFormat kFormat, int kSections>
class RowScales {
 public:
  // From step `step` on. `row` is this lane's row of the matrix; 2^shift sections share a scale.
  __device__ RowScales(const QuantizedMatrix& matrix, int32_t row, int32_t shift, const float* dynamic_map,
                       int32_t step)
      : matrix_(matrix), reader_(matrix, row), dynamic_map_(dynamic_map), shift_(shift), step_(step) {
    Load();
  }

  // Moves to the next step, the first one when it is called first; asks for the one after if there `is_more`.
  __device__ __forceinline__ void Next(bool is_more) {
#pragma unroll
    for (int s = 0; s < kSections; ++s) words_[s] = reader_.Finish(matrix_, dynamic_map_, loaded_[s], GroupOf(s));
    ++step_;
    if (is_more) Load();
  }

  // Of rows g, g + 8, g + 16 and g + 24 (g = lane / 4) in a section of the step. All lanes together.
  __device__ __forceinline__ void Read(int section, float (&scales)[4], uint32_t (&zeros)[4]) const {
    const int first = static_cast<int>(threadIdx.x) % kWarpSize & ~3;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t word = __shfl_sync(kFullWarp, words_[section], first + i);
      scales[i] = Reader::Scale(word);
      zeros[i] = Weights::Zero(Reader::Zero(word));
    }
  }

 private:
  using Reader = ScaleReader<kFormat>;

  __device__ __forceinline__ int32_t GroupOf(int section) const { return step_ * kSections + section >> shift_; }
  __device__ __forceinline__ void Load() {
#pragma unroll
    for (int s = 0; s < kSections; ++s) loaded_[s] = reader_.Load(matrix_, GroupOf(s));
  }

  const QuantizedMatrix& matrix_;
  Reader reader_;
  const float* dynamic_map_;
  int32_t shift_;
  int32_t step_;  // that loaded_ is of
  uint32_t loaded_[kSections];
  uint32_t words_[kSections];
};

}  // namespace switchyard::cuda
