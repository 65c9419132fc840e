// x of an item, as the lanes of quantized_gemm_streaming.cu take it: this lane's 16 columns of each section of its
// entry of each tile of 8, as pairs.
#pragma once

#include <cstdint>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/quantized_row_scales.cuh"
#include "kernels/cuda/quantized_stream.cuh"

namespace switchyard::cuda::quantized_stream {

__device__ __forceinline__ void ToPairs(const uint4& first, const uint4& second, uint32_t (&pairs)[8]) {
  pairs[0] = first.x;
  pairs[1] = first.y;
  pairs[2] = first.z;
  pairs[3] = first.w;
  pairs[4] = second.x;
  pairs[5] = second.y;
  pairs[6] = second.z;
  pairs[7] = second.w;
}

// Straight from global memory: all warps of a multiprocessor read the same entries, which stay in its cache. An entry
// that the tiles lack is replaced by the last one; its sums are not stored.
template <typename T, typename Shape, int kTiles>
class CachedX {
 public:
  // From block `block` on.
  __device__ CachedX(const Params& p, int32_t first_entry, int num_entries, int32_t block)
      : columns_left_(p.in_features - block * Shape::kBlockColumns) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const int32_t entry = first_entry + min(tile * 8 + Lane() / 4, num_entries - 1);
      const int32_t row = p.x_row == nullptr ? entry : p.x_row[entry];
      next_[tile] =
          static_cast<const T*>(p.x) + RowTimes(row, p.in_features) + block * Shape::kBlockColumns + Lane() % 4 * 16;
    }
  }

  // Zeros beyond the row, where codes are of unspecified values.
  __device__ __forceinline__ void Load(int s, uint32_t (&pairs)[kTiles][8]) const {
    if (columns_left_ >= Shape::kBlockColumns) {
      LoadColumns<false>(s, pairs);
    } else {
      LoadColumns<true>(s, pairs);
    }
  }
  // The same of all sections.
  __device__ __forceinline__ void LoadBlock(uint32_t (&pairs)[Shape::kSections][kTiles][8]) const {
    if (columns_left_ >= Shape::kBlockColumns) {
#pragma unroll
      for (int s = 0; s < Shape::kSections; ++s) LoadColumns<false>(s, pairs[s]);
    } else {
#pragma unroll
      for (int s = 0; s < Shape::kSections; ++s) LoadColumns<true>(s, pairs[s]);
    }
  }
  // Moves to the next block.
  __device__ __forceinline__ void Next() {
    columns_left_ -= Shape::kBlockColumns;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) next_[tile] += Shape::kBlockColumns;
  }

 private:
  template <bool kChecked>
  __device__ __forceinline__ void LoadColumns(int s, uint32_t (&pairs)[kTiles][8]) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      uint4 halves[2] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int column = s * kScaleColumns + half * 8;
        if (!kChecked || column + Lane() % 4 * 16 < columns_left_) {
          halves[half] = *reinterpret_cast<const uint4*>(next_[tile] + column);
        }
      }
      ToPairs(halves[0], halves[1], pairs[tile]);
    }
  }

  int32_t columns_left_;  // of the row, from the block on
  const T* next_[kTiles];
};

// Through shared memory, filled by cp.async one block ahead by the warps of the same columns together. A row of a stage
// is kBlockColumns / 8 chunks of 16 bytes, chunk c of row r at place c ^ (r % 2): eight lanes that read together touch
// every bank once. Rows of entries that the tile does not have are left as they are: their products are not stored.
template <typename T, typename Shape>
class SharedX {
 public:
  // Starts the copy of the first block of `columns`; nobody reads `shared` any more.
  __device__ SharedX(const Params& p, int32_t first_entry, int num_entries, const ColumnRange& columns, void* shared)
      : in_features_(p.in_features), block_(columns.begin), end_(columns.end) {
    const int thread = Warp() / Shape::kColumnWarps * kWarpSize + Lane();
    const int chunk = thread % kChunks;
    const int row = thread / kChunks;
    ring_ = static_cast<T*>(shared) + Warp() % Shape::kColumnWarps * Shape::kXStages * Shape::kXStageElements;
    column_ = chunk * 8;
    copy_ = row * Shape::kBlockColumns + (chunk ^ row % 2) * 8;
    num_rows_ = max(num_entries - row + kCopiedRows - 1, 0) / kCopiedRows;
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
      const int32_t entry = first_entry + row + i * kCopiedRows;
      if (i < num_rows_) row_[i] = p.x_row == nullptr ? entry : p.x_row[entry];
    }
    x_ = static_cast<const T*>(p.x);
    read_ = Lane() / 4 * Shape::kBlockColumns + (2 * (Lane() % 4) ^ Lane() / 4 % 2) * 8;
    CopyNext();
  }

  // Starts the copy of the next block, if there is one. All threads have read the block before the last.
  __device__ __forceinline__ void CopyNext() {
    stage_ = 1 - stage_;
    if (block_ < end_) {
      const int32_t column = block_ * Shape::kBlockColumns + column_;
      // Zeros beyond the row: codes there are of unspecified values.
      const bool valid = column < in_features_;
      T* to = ring_ + (1 - stage_) * Shape::kXStageElements + copy_;
#pragma unroll
      for (int i = 0; i < kRowsOfThread; ++i) {
        if (i >= num_rows_) continue;
        const T* from = x_ + RowTimes(row_[i], in_features_) + (valid ? column : 0);
        CpAsync16(to + i * kCopiedRows * Shape::kBlockColumns, from, valid);
      }
      ++block_;
    }
    CpAsyncCommit();
  }

  // Of the block before the last one that was asked for.
  template <int kTiles>
  __device__ __forceinline__ void Load(int s, uint32_t (&pairs)[kTiles][8]) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const T* from = ring_ + stage_ * Shape::kXStageElements + tile * 8 * Shape::kBlockColumns + s * kScaleColumns;
      ToPairs(*reinterpret_cast<const uint4*>(from + read_), *reinterpret_cast<const uint4*>(from + (read_ ^ 8)),
              pairs[tile]);
    }
  }

 private:
  static_assert(Shape::kXStages == 2);
  static constexpr int kChunks = Shape::kBlockColumns / 8;
  static constexpr int kCopiedRows = Shape::kRowWarps * kWarpSize / kChunks;  // that the threads copy at once
  static constexpr int kRowsOfThread = (Shape::kColumns + kCopiedRows - 1) / kCopiedRows;
  static_assert(kCopiedRows % 2 == 0);

  const int32_t in_features_;
  int32_t block_;  // that is copied next
  const int32_t end_;
  const T* x_;
  T* ring_;
  int32_t column_;              // of a block, that this thread copies
  int copy_;                    // where to, in elements
  int num_rows_;                // that this thread copies a chunk of
  int32_t row_[kRowsOfThread];  // of x
  int read_;                    // this lane's first chunk, in elements
  int stage_ = 1;               // that is read
};

}  // namespace switchyard::cuda::quantized_stream
