// The parts of quantized_gemm_streaming.cu around the product: shapes, items, the ring of codes, the results.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/expert_gemm.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantized_gemm.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/shared_place.cuh"

namespace switchyard::cuda::quantized_stream {

inline constexpr int kMapSize = 256;
inline constexpr int kWarpRows = 32;

struct Params : QuantizedGemmParams {
  int32_t num_items;       // of a matrix and its entries
  int32_t num_matrices;    // experts that may have entries, or where offsets is null parts of the entries
  int32_t dense_columns;   // of a part of the entries
  bool lists_are_settled;  // there are none, or none was written by the kernel ahead
};

// kTileCount tiles of 8 entries.
template <WeightFormat kWeightFormat, bool kGateUp, int kTileCount, int kNumRowWarps, int kNumColumnWarps,
          int kNumStages, bool kHasWideGroups = false>
struct StreamingShape {
  static constexpr WeightFormat kFormat = kWeightFormat;
  static constexpr bool kIsGateUp = kGateUp;
  static constexpr int kTiles = kTileCount;
  static constexpr int kRowWarps = kNumRowWarps;
  static constexpr int kColumnWarps = kNumColumnWarps;
  static constexpr int kWarps = kRowWarps * kColumnWarps;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kMinBlocks = 512 / kThreads;  // of a multiprocessor
  static constexpr int kStages = kNumStages;         // of the ring of codes
  static constexpr int kRows = kWarpRows * kRowWarps;
  static constexpr int kWarpFeatures = kIsGateUp ? kWarpRows / 2 : kWarpRows;
  static constexpr int kFeatures = kWarpFeatures * kRowWarps;  // of y
  static constexpr int kColumns = 8 * kTiles;
  static constexpr int kBlockColumns = cuda::kBlockColumns(kFormat);
  static constexpr int kSections = kBlockColumns / kScaleColumns;
  // That surely share a scale: all of a block, or one.
  static constexpr int kGroupSections = kHasWideGroups ? kSections : 1;
  static constexpr int kPieces = kWarpRows / 8;
  static constexpr int kStageBytes = kWarpRows * kBlockBytes;  // of a warp
  // Whether the warps of the same columns read one copy of x in shared memory. Where a warp has its columns for itself
  // x comes from the cache.
  static constexpr bool kSharesX = kRowWarps > 1;
  // The wait for codes is then the one for x, which is copied one block ahead: no group may stay under way.
  static_assert(!kSharesX || kStages == 2);
  static constexpr int kXStages = 2;
  static constexpr int kXStageElements = kColumns * kBlockColumns;
  static constexpr size_t kXBytes = kSharesX ? size_t{2} * kColumnWarps * kXStages * kXStageElements : 0;
  static constexpr int kSumStride = kRows + 4;
  // With two, the sums of an item are read while those of the next one are written. Shared x and sums take turns in
  // one place.
  static constexpr int kSumBuffers = kTiles > 1 ? 1 : 2;
  static constexpr int kSumFloats = kColumnWarps * kColumns * kSumStride;
};

// Shared memory: codes; x, then sums; NF4's tables.
template <typename T, typename Shape>
struct SharedLayout {
  using Weights = Dequantizer<T, Shape::kFormat>;
  static constexpr size_t kSums = size_t{Shape::kWarps} * Shape::kStages * Shape::kStageBytes;
  static constexpr size_t kTable =
      kSums + std::max(Shape::kXBytes, sizeof(float) * Shape::kSumBuffers * Shape::kSumFloats);
  static constexpr size_t kMap = kTable + Weights::kSharedBytes;
  static constexpr size_t kBytes = kMap + (Shape::kFormat == WeightFormat::kNf4 ? kMapSize * sizeof(float) : 0);
  static_assert(kTable % 16 == 0 && kBytes <= 99 * 1024);
};

__device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ __forceinline__ int Warp() { return static_cast<int>(threadIdx.x) / kWarpSize; }

// Row 8 * piece + g of this warp's rows; where the matrix has none its last one, whose products are not stored. In the
// gate-up product pieces 0 and 1 are of W1, 2 and 3 of W3 for the same features.
template <typename Shape>
__device__ __forceinline__ int32_t RowOf(const Params& p, int32_t first_feature, int piece, int g) {
  constexpr int kFeaturePieces = Shape::kWarpFeatures / 8;
  const int32_t feature =
      first_feature + Warp() / Shape::kColumnWarps * Shape::kWarpFeatures + piece % kFeaturePieces * 8 + g;
  return min(feature, p.out_features - 1) + (piece >= kFeaturePieces ? p.out_features : 0);
}

// The blocks of columns of this warp, the same of every item: some warps may have none.
struct ColumnRange {
  template <typename Shape>
  static __device__ ColumnRange Of(const Params& p) {
    const auto num_blocks = static_cast<int32_t>(p.weights.padded_columns / Shape::kBlockColumns);
    const int32_t share = (num_blocks + Shape::kColumnWarps - 1) / Shape::kColumnWarps;
    const int32_t begin = min(Warp() % Shape::kColumnWarps * share, num_blocks);
    return {begin, min(begin + share, num_blocks), share};
  }

  int32_t begin;
  int32_t end;
  int32_t share;  // of a warp at most
};

// The items of this block one after the other: rows of a matrix by up to kColumns entries.
template <typename Shape>
class Items {
 public:
  __device__ explicit Items(const Params& p) : in_matrix_(static_cast<int32_t>(blockIdx.x)) { Find(p); }

  // There, place() and first_feature() are of some item all the same.
  __device__ __forceinline__ bool AtEnd() const { return end_entry_ < 0; }
  __device__ __forceinline__ int32_t place() const { return place_; }  // of the matrix
  __device__ __forceinline__ int32_t first_feature() const { return in_matrix_ * Shape::kFeatures; }
  __device__ __forceinline__ int32_t first_entry() const { return entry_; }
  __device__ __forceinline__ int num_entries() const { return min(end_entry_ - entry_, Shape::kColumns); }

  __device__ __forceinline__ void Advance(const Params& p) {
    entry_ += Shape::kColumns;
    if (entry_ < end_entry_) return;
    in_matrix_ += static_cast<int32_t>(gridDim.x);
    entry_ = begin_entry_;
    if (in_matrix_ >= p.num_items) Find(p);
  }

 private:
  // The first item from this one on whose matrix has entries and a place.
  __device__ void Find(const Params& p) {
    for (;; in_matrix_ += static_cast<int32_t>(gridDim.x)) {
      for (; in_matrix_ >= p.num_items; in_matrix_ -= p.num_items) ++index_;
      if (index_ >= p.num_matrices) break;
      if (p.offsets == nullptr) {
        place_ = 0;
        begin_entry_ = index_ * p.dense_columns;
        end_entry_ = min(begin_entry_ + p.dense_columns, p.num_entries);
        entry_ = begin_entry_;
        return;
      }
      const int32_t expert = p.active_experts[index_];
      if (expert < 0) break;  // nor any after it
      const int32_t place = PlaceOf(p.expert_place, expert);
      if (place < 0) continue;
      place_ = place;
      begin_entry_ = p.offsets[expert];
      end_entry_ = p.offsets[expert + 1];
      entry_ = begin_entry_;
      return;
    }
    end_entry_ = -1;
  }

  int32_t in_matrix_;  // which of the matrix's rows
  int32_t index_ = 0;  // of the matrix among those of the launch
  int32_t place_ = 0;
  int32_t entry_ = 0;
  int32_t begin_entry_ = 0;
  int32_t end_entry_ = 0;
};

// The codes of all items of this warp, block of columns after block, through shared memory: every lane copies what it
// will itself read, so nothing waits for another thread, and copies go on across items.
template <typename Shape>
class CodeRing {
 public:
  // Starts the first copies.
  __device__ CodeRing(const Params& p, const ColumnRange& columns, unsigned char* shared)
      : columns_(columns),
        block_(columns.begin),
        items_(p),
        slots_(shared + Warp() * Shape::kStages * Shape::kStageBytes + Lane() * kChunkBytes),
        read_(slots_) {
    is_empty_ = columns.begin >= columns.end || items_.AtEnd();
    if (!is_empty_) FindRows(p);
#pragma unroll
    for (int i = 0; i < Shape::kStages - 1; ++i) Copy(p, i);
  }

  // Waits for the next block, and for all other copies of this thread if there are two stages.
  __device__ __forceinline__ void Wait() const { CpAsyncWait<Shape::kStages - 2>(); }
  // Starts the copy of the block that takes the place of the one before.
  __device__ __forceinline__ void CopyNext(const Params& p) { Copy(p, stage_ == 0 ? Shape::kStages - 1 : stage_ - 1); }
  // This lane's words of section `s` of piece `piece`; after Wait and before Release.
  __device__ __forceinline__ void Read(int piece, int s, uint32_t (&words)[4 / Shape::kSections]) const {
    const SharedPlace chunk = read_.At(static_cast<uint32_t>(piece * kWarpSize * kChunkBytes));
    if constexpr (Shape::kSections == 1) {
      const uint4 loaded = chunk.Load16();
      words[0] = loaded.x;
      words[1] = loaded.y;
      words[2] = loaded.z;
      words[3] = loaded.w;
    } else {
      const uint2 loaded = chunk.At(static_cast<uint32_t>(s) * 8).Load8();
      words[0] = loaded.x;
      words[1] = loaded.y;
    }
  }
  __device__ __forceinline__ void Release() {
    stage_ = stage_ + 1 == Shape::kStages ? 0 : stage_ + 1;
    read_ = slots_.At(static_cast<uint32_t>(stage_) * Shape::kStageBytes);
  }

 private:
  __device__ __forceinline__ void FindRows(const Params& p) {
    const uint8_t* codes = p.weights.codes + static_cast<size_t>(items_.place()) * p.weights.stride +
                           block_ * kBlockBytes + Lane() % 4 * kChunkBytes;
#pragma unroll
    for (int i = 0; i < Shape::kPieces; ++i) {
      next_[i] = codes + RowTimes(RowOf<Shape>(p, items_.first_feature(), i, Lane() / 4), p.weights.row_bytes);
    }
  }

  __device__ __forceinline__ void Copy(const Params& p, int stage) {
    if (!is_empty_) {
      const SharedPlace to = slots_.At(static_cast<uint32_t>(stage) * Shape::kStageBytes);
#pragma unroll
      for (int i = 0; i < Shape::kPieces; ++i) {
        to.At(static_cast<uint32_t>(i) * kWarpSize * kChunkBytes).CopyAsync16(next_[i]);
        next_[i] += kBlockBytes;
      }
      if (++block_ == columns_.end) {
        block_ = columns_.begin;
        items_.Advance(p);
        is_empty_ = items_.AtEnd();
        if (!is_empty_) FindRows(p);
      }
    }
    CpAsyncCommit();
  }

  const ColumnRange columns_;
  int32_t block_;  // of the next copy, of items_
  Items<Shape> items_;
  const SharedPlace slots_;              // this lane's
  SharedPlace read_;                     // of the next block to read
  const uint8_t* next_[Shape::kPieces];  // that this lane copies of each piece
  int stage_ = 0;                        // of the next block to read
  bool is_empty_;
};

// A warp's sums for the item, into `shared` [kColumnWarps, kColumns, kSumStride].
template <typename Shape, int kTiles>
__device__ __forceinline__ void WriteSums(int num_entries, const float (&sums)[2][kTiles][4], float* shared) {
  const int g = Lane() / 4;
  const int t = Lane() % 4;
  float* of_warp = shared + Warp() % Shape::kColumnWarps * Shape::kColumns * Shape::kSumStride +
                   Warp() / Shape::kColumnWarps * kWarpRows;
#pragma unroll
  for (int group = 0; group < 2; ++group) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = tile * 8 + 2 * t + i % 2;
        if (column >= num_entries) continue;
        of_warp[column * Shape::kSumStride + group * 16 + i / 2 * 8 + g] = sums[group][tile][i];
      }
    }
  }
}

// Adds the sums of the warps that share rows, all of which have been written, and writes y of the item.
template <typename T, typename Shape>
__device__ void StoreSums(const Params& p, const Items<Shape>& items, const float* shared) {
  constexpr int kWarpStride = Shape::kColumns * Shape::kSumStride;
  for (int i = threadIdx.x; i < items.num_entries() * Shape::kFeatures; i += Shape::kThreads) {
    const int column = i / Shape::kFeatures;
    const int feature = i % Shape::kFeatures;
    const int32_t of_y = items.first_feature() + feature;
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
    const int32_t entry = items.first_entry() + column;
    float y = Shape::kIsGateUp ? SiluMultiply(first, second) : first;
    if (p.entry_weight != nullptr) y *= p.entry_weight[entry];
    StoreResult<T>(p, items.place(), entry, of_y, y);
  }
}

}  // namespace switchyard::cuda::quantized_stream
