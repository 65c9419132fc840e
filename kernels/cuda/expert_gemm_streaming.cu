// The expert products for few entries per expert, bound by the memory that the weights come from.
//
// mma.m16n8k16 with 16 rows of the weights as A and 8 entries as the columns of B. The sum over k is in any order, so a
// lane may name its 16 contiguous bytes of a row, elements 8t..8t+7 of 32 (t = lane % 4), to be the A elements
// {2t, 2t + 1, 2t + 8, 2t + 9} of two products, as long as it does the same with B:
//
//   elements 8t + {0, 1}, {2, 3}: a[0], a[2] (b[0], b[1]) of the first product; {4, 5}, {6, 7}: of the second
//
// So every lane copies by cp.async just the bytes that it will itself consume, into slots of shared memory of its own:
// a ring of kStages steps that needs no barriers and no swizzle, and keeps loads in flight without registers. Warps
// take every kWarps-th step of k; their sums meet in shared memory at the end. A block of the gate-up product holds
// rows of w1 and w3 for the same features.
#include <algorithm>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/expert_gemm.cuh"
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kStages = 2;
constexpr int kLaneElements = 8;    // 16 bytes
constexpr int kChunkElements = 32;  // of a row, by the four lanes that share it

// kGroups groups of 16 rows of the weights by kTiles tiles of 8 entries. Per step a warp takes 4 KB of weights.
template <ExpertProduct kProduct, int kGroups, int kTiles>
struct StreamingShape {
  static constexpr bool kIsGateUp = kProduct == ExpertProduct::kGateUp;
  static constexpr int kRows = 16 * kGroups;
  static constexpr int kFeatures = kIsGateUp ? kRows / 2 : kRows;  // of y
  static constexpr int kColumns = 8 * kTiles;
  static constexpr int kChunks = 4 / kGroups;  // of each row per step
  static constexpr int kStepElements = kChunks * kChunkElements;
  static constexpr int kWeightSlots = kChunks * 2 * kGroups;
  static constexpr int kSlots = kWeightSlots + kChunks * kTiles;
  static constexpr size_t kRingBytes = sizeof(uint4) * kWarps * kStages * kSlots * kWarpSize;
  // Of one column of a warp's sums; the 4 floats more keep stores of a fragment free of bank conflicts.
  static constexpr int kSumStride = kRows + 4;
  static constexpr size_t kSumBytes = sizeof(float) * kWarps * kColumns * kSumStride;
  static constexpr size_t kSharedBytes = std::max(kRingBytes, kSumBytes);
  static_assert(kGroups == 1 || kGroups == 2 || kGroups == 4);
  static_assert(!kIsGateUp || kGroups >= 2);
};

// What one warp multiplies: rows of the weights from `feature` on by entries [first_entry, first_entry + num_columns).
template <typename T, typename Shape>
class StreamingWarp {
 public:
  __device__ StreamingWarp(const ExpertGemmParams<T>& p, int32_t place, int32_t first_feature, int32_t first_entry,
                           int num_columns)
      : p_(p), num_tiles_((num_columns + 7) / 8), k_(Warp() * Shape::kStepElements + Lane() % 4 * kLaneElements) {
    const int g = Lane() / 4;
    const int64_t rows_per_expert = Shape::kIsGateUp ? 2 * int64_t{p.out_features} : p.out_features;
    feature_ = first_feature + g;
    weights_ = p.weights + (place * rows_per_expert + feature_) * p.in_features;
#pragma unroll
    for (int tile = 0; tile < Shape::kColumns / 8; ++tile) {
      const int column = tile * 8 + g;
      has_column_[tile] = column < num_columns;
      const int32_t entry = first_entry + (has_column_[tile] ? column : 0);
      x_[tile] = p.x + int64_t{Shape::kIsGateUp ? p.entry_row[entry] : entry} * p.in_features;
    }
  }

  // sums[group][tile] += the products over all of this warp's steps.
  __device__ void Multiply(float (&sums)[Shape::kRows / 16][Shape::kColumns / 8][4]) {
    const int32_t step_stride = kWarps * Shape::kStepElements;
    const int32_t first = Warp() * Shape::kStepElements;
    const int32_t num_steps = first < p_.in_features ? (p_.in_features - first + step_stride - 1) / step_stride : 0;
    int copied = 0;
    for (; copied < kStages; ++copied) {
      if (copied < num_steps) Copy(copied, k_ + copied * step_stride);
      CpAsyncCommit();
    }
    int stage = 0;
    for (int32_t step = 0; step < num_steps; ++step, ++copied) {
      CpAsyncWait<kStages - 1>();
      Consume(stage, sums);
      if (copied < num_steps) Copy(stage, k_ + copied * step_stride);
      CpAsyncCommit();
      stage = stage + 1 == kStages ? 0 : stage + 1;
    }
    CpAsyncWait<0>();
  }

 private:
  static __device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
  static __device__ __forceinline__ int Warp() { return static_cast<int>(threadIdx.x) / kWarpSize; }
  static __device__ __forceinline__ uint4* Slot(int stage, int slot) {
    return DynamicShared<uint4>() + ((Warp() * kStages + stage) * Shape::kSlots + slot) * kWarpSize + Lane();
  }

  // This lane's pieces at elements k, k + 32, ... of its rows; zeros beyond the matrix.
  __device__ __forceinline__ void Copy(int stage, int32_t k) const {
    constexpr int kFeatureGroups = Shape::kFeatures / 16;
#pragma unroll
    for (int chunk = 0; chunk < Shape::kChunks; ++chunk) {
      const int32_t chunk_k = k + chunk * kChunkElements;
      const bool has_k = chunk_k < p_.in_features;
#pragma unroll
      for (int i = 0; i < Shape::kRows / 8; ++i) {
        const int row = i / 2 % kFeatureGroups * 16 + i % 2 * 8;  // of the features, beside this lane's first one
        const bool is_up = i / 2 >= kFeatureGroups;
        const bool valid = has_k && feature_ + row < p_.out_features;
        const T* source = weights_ + (row + (is_up ? int64_t{p_.out_features} : 0)) * p_.in_features + chunk_k;
        CpAsync16(Slot(stage, chunk * (Shape::kRows / 8) + i), valid ? source : p_.weights, valid);
      }
#pragma unroll
      for (int tile = 0; tile < Shape::kColumns / 8; ++tile) {
        const bool valid = has_k && has_column_[tile];
        if (tile < num_tiles_) {
          CpAsync16(Slot(stage, Shape::kWeightSlots + chunk * (Shape::kColumns / 8) + tile),
                    valid ? x_[tile] + chunk_k : p_.x, valid);
        }
      }
    }
  }

  __device__ __forceinline__ void Consume(int stage, float (&sums)[Shape::kRows / 16][Shape::kColumns / 8][4]) const {
#pragma unroll
    for (int chunk = 0; chunk < Shape::kChunks; ++chunk) {
      uint4 b[Shape::kColumns / 8] = {};
#pragma unroll
      for (int tile = 0; tile < Shape::kColumns / 8; ++tile) {
        if (tile < num_tiles_) b[tile] = *Slot(stage, Shape::kWeightSlots + chunk * (Shape::kColumns / 8) + tile);
      }
#pragma unroll
      for (int group = 0; group < Shape::kRows / 16; ++group) {
        const uint4 upper = *Slot(stage, chunk * (Shape::kRows / 8) + 2 * group);      // row g
        const uint4 lower = *Slot(stage, chunk * (Shape::kRows / 8) + 2 * group + 1);  // row g + 8
        const uint32_t a0[4] = {upper.x, lower.x, upper.y, lower.y};
        const uint32_t a1[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
        for (int tile = 0; tile < Shape::kColumns / 8; ++tile) {
          if (tile < num_tiles_) {
            MmaM16N8K16<T>(sums[group][tile], a0, {b[tile].x, b[tile].y});
            MmaM16N8K16<T>(sums[group][tile], a1, {b[tile].z, b[tile].w});
          }
        }
      }
    }
  }

  const ExpertGemmParams<T>& p_;
  const int num_tiles_;
  const int32_t k_;  // this lane's first element of a row
  int32_t feature_;
  const T* weights_;                 // row `feature_`
  const T* x_[Shape::kColumns / 8];  // the row of this lane's column in each tile
  bool has_column_[Shape::kColumns / 8];
};

// Adds the sums of all warps and writes y for `num_columns` entries from first_entry on.
template <typename T, typename Shape>
__device__ void StoreSums(const ExpertGemmParams<T>& p, int32_t first_feature, int32_t first_entry, int num_columns,
                          const float (&sums)[Shape::kRows / 16][Shape::kColumns / 8][4]) {
  const int g = static_cast<int>(threadIdx.x) % kWarpSize / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  float* shared = DynamicShared<float>();  // [warps, columns, kSumStride]
  constexpr int kWarpStride = Shape::kColumns * Shape::kSumStride;
  __syncthreads();  // all rings are drained
#pragma unroll
  for (int group = 0; group < Shape::kRows / 16; ++group) {
#pragma unroll
    for (int tile = 0; tile < Shape::kColumns / 8; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = tile * 8 + 2 * t + i % 2;
        const int row = group * 16 + i / 2 * 8 + g;
        shared[warp * kWarpStride + column * Shape::kSumStride + row] = sums[group][tile][i];
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < num_columns * Shape::kFeatures; i += kWarps * kWarpSize) {
    const int column = i / Shape::kFeatures;
    const int feature = i % Shape::kFeatures;
    if (first_feature + feature >= p.out_features) continue;
    const float* sum = shared + column * Shape::kSumStride + feature;
    float first = 0;
    float second = 0;  // the product with w3
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      first += sum[w * kWarpStride];
      if constexpr (Shape::kIsGateUp) second += sum[w * kWarpStride + Shape::kFeatures];
    }
    const int32_t entry = first_entry + column;
    const float y = Shape::kIsGateUp ? SiluMultiply(first, second) : p.entry_weight[entry] * first;
    p.y[int64_t{entry} * p.out_features + first_feature + feature] = FromFloat<T>(y);
  }
  __syncthreads();  // the sums have been read
}

// Grid: [blocks of features, active experts].
template <typename T, typename Shape>
__global__ void __launch_bounds__(kWarps* kWarpSize, 4) StreamingKernel(ExpertGemmParams<T> p) {
  WaitForPrevious();
  const int32_t expert = p.active_experts[blockIdx.y];
  if (expert < 0) return;
  const int32_t place = PlaceOf(p.expert_place, expert);
  if (place < 0) return;
  const int32_t end = p.offsets[expert + 1];
  const int32_t first_feature = static_cast<int32_t>(blockIdx.x) * Shape::kFeatures;
  for (int32_t first = p.offsets[expert]; first < end; first += Shape::kColumns) {
    const int num_columns = min(end - first, Shape::kColumns);
    float sums[Shape::kRows / 16][Shape::kColumns / 8][4] = {};
    StreamingWarp<T, Shape>(p, place, first_feature, first, num_columns).Multiply(sums);
    if (first + Shape::kColumns >= end) LetNextStart();
    StoreSums<T, Shape>(p, first_feature, first, num_columns, sums);
  }
}

int64_t NumBlocks(int64_t out_features, int features) { return (out_features + features - 1) / features; }

template <typename T, typename Shape>
void LaunchShaped(const ExpertGemmArgs& args, Stream stream) {
  Launch(StreamingKernel<T, Shape>,
         LaunchShape{.grid = dim3(static_cast<unsigned>(NumBlocks(args.out_features, Shape::kFeatures)),
                                  static_cast<unsigned>(args.permutation.max_active_experts())),
                     .block = dim3(kWarps * kWarpSize),
                     .shared_bytes = Shape::kSharedBytes},
         stream, ExpertGemmParams<T>(args));
}

template <typename T, ExpertProduct kProduct>
void LaunchProduct(const ExpertGemmArgs& args, Stream stream) {
  if (args.permutation.num_pairs > 8) {
    return LaunchShaped<T, StreamingShape<kProduct, 4, 4>>(args, stream);
  }
  if constexpr (kProduct == ExpertProduct::kDown) {
    // One block per multiprocessor has too few loads in flight: divide finer where that would be all.
    const int64_t num_blocks = NumBlocks(args.out_features, 32) * args.permutation.max_active_experts();
    if (num_blocks < 2 * args.num_multiprocessors) {
      return LaunchShaped<T, StreamingShape<kProduct, 1, 1>>(args, stream);
    }
  }
  LaunchShaped<T, StreamingShape<kProduct, 2, 1>>(args, stream);
}

}  // namespace

void StreamingExpertGemm(const ExpertGemmArgs& args, Stream stream) {
  DispatchExpertGemm(args, [&]<typename T, ExpertProduct kProduct>() { LaunchProduct<T, kProduct>(args, stream); });
}

}  // namespace switchyard::cuda
