// The parts of quantized_gemm_streaming.cu around the product: shapes, what an item is, the ring of x, the results.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/expert_gemm.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantized_gemm.cuh"
#include "kernels/cuda/quantized_scale_panel.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda::quantized_stream {

inline constexpr int kMapSize = 256;
inline constexpr int kWarpRows = 32;

struct Params : QuantizedGemmParams {
  int32_t num_items;      // of a matrix and its entries
  int32_t num_matrices;   // experts that may have entries, or where offsets is null parts of the entries
  int32_t dense_columns;  // of a part of the entries
};

// kTileCount tiles of 8 entries.
template <WeightFormat kWeightFormat, bool kGateUp, int kTileCount, int kNumRowWarps, int kNumColumnWarps,
          int kBlocksPerProcessor>
struct StreamingShape {
  static constexpr WeightFormat kFormat = kWeightFormat;
  static constexpr bool kIsGateUp = kGateUp;
  static constexpr int kTiles = kTileCount;
  static constexpr int kRowWarps = kNumRowWarps;
  static constexpr int kColumnWarps = kNumColumnWarps;
  static constexpr int kWarps = kRowWarps * kColumnWarps;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kMinBlocks = kBlocksPerProcessor;
  static constexpr int kRows = kWarpRows * kRowWarps;
  static constexpr int kWarpFeatures = kIsGateUp ? kWarpRows / 2 : kWarpRows;
  static constexpr int kFeatures = kWarpFeatures * kRowWarps;  // of y
  static constexpr int kColumns = 8 * kTiles;
  static constexpr int kBlockColumns = cuda::kBlockColumns(kFormat);
  static constexpr int kSections = kBlockColumns / kScaleColumns;
  static constexpr int kPanelBlocks = 8;
  static constexpr int kPanelGroups = kPanelBlocks * kSections;
  // Whether the warps of the same columns read one copy of x. Of few entries each has its own, and no barriers.
  static constexpr bool kSharesX = kTiles > 1 && kRowWarps > 1;
  static constexpr int kXStages = 3;
  static constexpr int kXWarps = kSharesX ? kRowWarps : 1;  // that fill a ring
  static constexpr int kXStageElements = kColumns * kBlockColumns;
  static constexpr int kRings = kWarps / kXWarps;
  static constexpr int kSumStride = kRows + 4;
};

// Shared memory: x or, when that has been multiplied, the sums; scales; NF4's tables.
template <typename T, typename Shape>
struct SharedLayout {
  using Weights = Dequantizer<T, Shape::kFormat>;
  static constexpr size_t kXBytes = sizeof(T) * Shape::kRings * Shape::kXStages * Shape::kXStageElements;
  static constexpr size_t kSumBytes = sizeof(float) * Shape::kColumnWarps * Shape::kColumns * Shape::kSumStride;
  static constexpr size_t kPanelBytes = ScalePanel<Weights, Shape::kFormat, Shape::kPanelGroups>::kBytes;
  static constexpr size_t kPanels = std::max(kXBytes, kSumBytes);
  static constexpr size_t kTable = kPanels + kPanelBytes * Shape::kWarps;
  static constexpr size_t kMap = kTable + Weights::kSharedBytes;
  static constexpr size_t kBytes = kMap + (Shape::kFormat == WeightFormat::kNf4 ? kMapSize * sizeof(float) : 0);
  static_assert(kPanels % 16 == 0 && kBytes <= 99 * 1024);
};

__device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ __forceinline__ int Warp() { return static_cast<int>(threadIdx.x) / kWarpSize; }

// Row 8 * piece + g of this warp's rows; where the matrix has none its last one, whose products are not stored. In the
// gate-up product pieces 0 and 1 are of W1, 2 and 3 of W3 for the same features.
template <typename Shape>
__device__ __forceinline__ int64_t RowOf(const Params& p, int32_t first_feature, int piece, int g) {
  constexpr int kFeaturePieces = Shape::kWarpFeatures / 8;
  const int32_t feature =
      first_feature + Warp() / Shape::kColumnWarps * Shape::kWarpFeatures + piece % kFeaturePieces * 8 + g;
  return min(feature, p.out_features - 1) + (piece >= kFeaturePieces ? p.out_features : 0);
}

// Entries that are multiplied by one matrix.
struct Entries {
  int32_t place;  // of the matrix; -1: not among those of the launch
  int32_t begin;
  int32_t end;
};

// False: there is no such matrix, and none after it.
__device__ __forceinline__ bool FindEntries(const Params& p, int32_t index, Entries* entries) {
  if (p.offsets == nullptr) {
    entries->place = 0;
    entries->begin = index * p.dense_columns;
    entries->end = min(entries->begin + p.dense_columns, p.num_entries);
    return true;
  }
  const int32_t expert = p.active_experts[index];
  if (expert < 0) return false;
  entries->place = PlaceOf(p.expert_place, expert);
  entries->begin = p.offsets[expert];
  entries->end = p.offsets[expert + 1];
  return true;
}

// x of the entries, block after block of columns. A row of a stage is kBlockColumns / 8 chunks of 16 bytes, chunk c of
// row r at place c ^ (r % 2): eight lanes that read together touch every bank once. Rows of entries that the tile does
// not have are left as they are: their products are not stored.
template <typename T, typename Shape>
class XRing {
 public:
  __device__ XRing(const Params& p, int32_t first_entry, int num_entries, T* shared)
      : in_features_(p.in_features), x_(static_cast<const T*>(p.x)) {
    const int ring = Shape::kSharesX ? Warp() % Shape::kColumnWarps : Warp();
    const int thread = Shape::kSharesX ? Warp() / Shape::kColumnWarps * kWarpSize + Lane() : Lane();
    ring_ = shared + ring * Shape::kXStages * Shape::kXStageElements;
    const int chunk = thread % kChunks;
    const int row = thread / kChunks;
    column_ = chunk * 8;
    copy_ = row * Shape::kBlockColumns + (chunk ^ row % 2) * 8;
    num_rows_ = max(num_entries - row + kCopiedRows - 1, 0) / kCopiedRows;
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
      const int32_t entry = first_entry + row + i * kCopiedRows;
      if (i < num_rows_) row_[i] = p.x_row == nullptr ? entry : p.x_row[entry];
    }
    const int g = Lane() / 4;
    const int t = Lane() % 4;
    read_ = g * Shape::kBlockColumns + (2 * t ^ g % 2) * 8;
  }

  // Starts the copies of the first blocks of [begin, end).
  __device__ __forceinline__ void Begin(int32_t begin, int32_t end) {
#pragma unroll
    for (int i = 0; i < Shape::kXStages - 1; ++i) {
      if (begin + i < end) Copy(begin + i, i);
      CpAsyncCommit();
    }
    stage_ = Shape::kXStages - 1;
  }

  // Waits for `block`, and starts the copy of the one that takes the place of the block before.
  __device__ __forceinline__ void Next(int32_t block, int32_t end) {
    CpAsyncWait<Shape::kXStages - 2>();
    if constexpr (Shape::kSharesX) {
      __syncthreads();
    } else {
      __syncwarp();
    }
    if (block + Shape::kXStages - 1 < end) Copy(block + Shape::kXStages - 1, stage_);
    CpAsyncCommit();
    stage_ = stage_ + 1 == Shape::kXStages ? 0 : stage_ + 1;
  }

  // This lane's 16 columns of section `s`, of entry g of a tile, as pairs.
  __device__ __forceinline__ void Load(int s, int tile, uint32_t (&pairs)[8]) const {
    const T* from = ring_ + stage_ * Shape::kXStageElements + tile * 8 * Shape::kBlockColumns + s * kScaleColumns;
    const uint4 first = *reinterpret_cast<const uint4*>(from + read_);
    const uint4 second = *reinterpret_cast<const uint4*>(from + (read_ ^ 8));
    pairs[0] = first.x;
    pairs[1] = first.y;
    pairs[2] = first.z;
    pairs[3] = first.w;
    pairs[4] = second.x;
    pairs[5] = second.y;
    pairs[6] = second.z;
    pairs[7] = second.w;
  }

 private:
  static constexpr int kChunks = Shape::kBlockColumns / 8;
  static constexpr int kCopiedRows = Shape::kXWarps * kWarpSize / kChunks;  // that the threads of a ring copy at once
  static constexpr int kRowsOfThread = Shape::kColumns / kCopiedRows;
  static_assert(kRowsOfThread * kCopiedRows == Shape::kColumns && kCopiedRows % 2 == 0);

  // Zeros beyond the row: codes there are of unspecified values.
  __device__ __forceinline__ void Copy(int32_t block, int stage) const {
    const int32_t column = block * Shape::kBlockColumns + column_;
    const bool valid = column < in_features_;
    T* to = ring_ + stage * Shape::kXStageElements + copy_;
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
      if (i >= num_rows_) continue;
      const T* from = x_ + int64_t{row_[i]} * in_features_ + (valid ? column : 0);
      CpAsync16(to + i * kCopiedRows * Shape::kBlockColumns, from, valid);
    }
  }

  const int32_t in_features_;
  const T* x_;
  T* ring_;
  int32_t column_;              // of a block, that this thread copies
  int copy_;                    // where to, in elements
  int num_rows_;                // that this thread copies a chunk of
  int32_t row_[kRowsOfThread];  // of x
  int read_;                    // this lane's first chunk, in elements
  int stage_ = 0;
};

// Adds the sums of the warps that share rows and writes y for `num_entries` entries from first_entry on. `shared` is
// [kColumnWarps, kColumns, kSumStride]. Begins and ends with a barrier.
template <typename T, typename Shape>
__device__ void StoreSums(const Params& p, int32_t place, int32_t first_feature, int32_t first_entry, int num_entries,
                          const float (&sums)[2][Shape::kTiles][4], float* shared) {
  constexpr int kWarpStride = Shape::kColumns * Shape::kSumStride;
  const int g = Lane() / 4;
  const int t = Lane() % 4;
  __syncthreads();  // x has been read
  float* of_warp = shared + Warp() % Shape::kColumnWarps * kWarpStride + Warp() / Shape::kColumnWarps * kWarpRows;
#pragma unroll
  for (int group = 0; group < 2; ++group) {
#pragma unroll
    for (int tile = 0; tile < Shape::kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = tile * 8 + 2 * t + i % 2;
        of_warp[column * Shape::kSumStride + group * 16 + i / 2 * 8 + g] = sums[group][tile][i];
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < num_entries * Shape::kFeatures; i += Shape::kThreads) {
    const int column = i / Shape::kFeatures;
    const int feature = i % Shape::kFeatures;
    const int32_t of_y = first_feature + feature;
    if (of_y >= p.out_features) continue;
    const float* sum = shared + column * Shape::kSumStride + feature / Shape::kWarpFeatures * kWarpRows +
                       feature % Shape::kWarpFeatures;
    float first = 0;
    float second = 0;  // the product with w3
#pragma unroll
    for (int w = 0; w < Shape::kColumnWarps; ++w) {
      first += sum[w * kWarpStride];
      if constexpr (Shape::kIsGateUp) second += sum[w * kWarpStride + Shape::kWarpFeatures];
    }
    const int32_t entry = first_entry + column;
    float y = Shape::kIsGateUp ? SiluMultiply(first, second) : first;
    if (p.entry_weight != nullptr) y *= p.entry_weight[entry];
    StoreResult<T>(p, place, entry, of_y, y);
  }
  __syncthreads();  // the sums have been read
}

}  // namespace switchyard::cuda::quantized_stream
