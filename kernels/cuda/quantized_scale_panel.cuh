// The scales of a warp's rows over some blocks of columns, decoded into shared memory, each once: the steps that follow
// read those of their four rows in one or two loads of 16 bytes, the same for the four lanes that share rows.
//
//   words[group of the panel][g][piece], of row 8 * piece + g: for kNf4 the scale in float32, else the scale in float32
//   and what the dequantiser takes for the zero point
#pragma once

#include <cstdint>

#include "kernels/cuda/quantized_scales.cuh"

namespace switchyard::cuda {

// Of 32 rows, a lane for each, and up to kMaxGroups groups. `Weights` is the format's dequantiser.
template <typename Weights, WeightFormat kFormat, int kMaxGroups>
class ScalePanel {
 public:
  static constexpr int kRows = 32;
  static constexpr int kWords = kFormat == WeightFormat::kNf4 ? 1 : 2;  // of a scale
  static constexpr size_t kBytes = size_t{kMaxGroups} * kRows * kWords * sizeof(uint32_t);

  // This lane decodes the scales of row `row` of the matrix, which is row `lane` of the panel (piece lane / 8).
  // `shared` is the warp's own, aligned to 16 bytes.
  __device__ ScalePanel(const QuantizedMatrix& matrix, int32_t row, const float* dynamic_map, void* shared)
      : matrix_(matrix), reader_(matrix, row), dynamic_map_(dynamic_map), words_(static_cast<uint32_t*>(shared)) {}

  // Groups [first, first + count), beyond the last one of the row its scale again; as many as fill eights, up to
  // kMaxGroups. All lanes have read what lay here before; they may read after a barrier of the warp.
  __device__ __forceinline__ void Fill(int32_t first, int count) {
    const auto groups = static_cast<int32_t>(matrix_.groups);
    const bool is_aligned = groups % kBatch == 0 && first % kBatch == 0;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    uint32_t* to = words_ + (lane % 8 * 4 + lane / 8) * kWords;
#pragma unroll 1
    for (int begin = 0; begin < count; begin += 2 * kBatch, to += 2 * kBatch * kRows * kWords) {
      uint32_t loaded[2][kBatch];
#pragma unroll
      for (int batch = 0; batch < 2; ++batch) {
        const int32_t group = first + begin + batch * kBatch;
        if (is_aligned) {
          reader_.Load4(matrix_, min(group, groups - kBatch), loaded[batch]);
        } else {
#pragma unroll
          for (int i = 0; i < kBatch; ++i) loaded[batch][i] = reader_.Load(matrix_, min(group + i, groups - 1));
        }
      }
#pragma unroll
      for (int i = 0; i < 2 * kBatch; ++i) {
        const int32_t group = min(first + begin + i, groups - 1);
        const uint32_t word = reader_.Finish(matrix_, dynamic_map_, loaded[i / kBatch][i % kBatch], group);
        if constexpr (kWords == 1) {
          to[i * kRows] = word;
        } else {
          *reinterpret_cast<uint2*>(to + i * kRows * kWords) =
              make_uint2(__float_as_uint(Reader::Scale(word)), Weights::Zero(Reader::Zero(word)));
        }
      }
    }
  }

  // Of this lane's rows g, g + 8, g + 16 and g + 24 (g = lane / 4) in a group, counted from the panel's first.
  __device__ __forceinline__ void Read(int32_t group, float (&scales)[4], uint32_t (&zeros)[4]) const {
    const int g = static_cast<int>(threadIdx.x) % 32 / 4;
    const auto* from = reinterpret_cast<const uint4*>(words_ + (group * kRows + g * 4) * kWords);
    if constexpr (kWords == 1) {
      const uint4 words = from[0];
      const uint32_t all[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scales[i] = __uint_as_float(all[i]);
        zeros[i] = 0;
      }
    } else {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint4 words = from[half];
        scales[2 * half] = __uint_as_float(words.x);
        zeros[2 * half] = words.y;
        scales[2 * half + 1] = __uint_as_float(words.z);
        zeros[2 * half + 1] = words.w;
      }
    }
  }

 private:
  using Reader = ScaleReader<kFormat>;
  static constexpr int kBatch = 4;
  static_assert(kMaxGroups % (2 * kBatch) == 0);

  const QuantizedMatrix& matrix_;
  Reader reader_;
  const float* dynamic_map_;
  uint32_t* words_;
};

}  // namespace switchyard::cuda
