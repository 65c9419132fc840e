// Products with quantised weights for few entries per matrix, bound by the memory that the codes come from.
//
// mma.m16n8k16 with 16 rows of the weights as A and 8 entries as the columns of B, as in expert_gemm_streaming.cu. A
// lane loads 16 bytes of codes of row lane / 4, a chunk of a block (quantized_matrix.h), and makes of them the A
// elements of kSections sections of 64 columns, 16 columns a lane and section. The sum over k is in any order, so pairs
// 2j and 2j + 1 of a lane's 16 columns are its elements of product j of the section, for A and for B alike:
//
//   columns 64 s + 16 t + 4j + {0, 1}: a[0], b[0] of product j     + {2, 3}: a[2], b[1]     (t = lane % 4)
//
// The sum of a section, all of one scale group, is scaled into the sum of the row in float32. What a step needs of
// codes and scales is loaded to registers one step ahead. The four lanes that share a row divide its scales among
// themselves, so that each is read and decoded once, and hand them to each other by shuffles.
// The warps of a block take every kWarps-th step of k; their sums meet in shared memory. Blocks stay for many items
// (expert, rows of the weights), since NF4's table takes time to fill.
#include <algorithm>

#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/expert_gemm.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantized_gemm.h"
#include "kernels/cuda/quantized_scales.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kMapSize = 256;

struct Params {
  QuantizedMatrix weights;
  Nf4Halves nf4;
  int32_t in_features;
  int32_t out_features;
  int32_t num_items;    // per expert
  int32_t max_experts;  // that have entries
  int32_t num_entries;  // where offsets is null
  int32_t scale_shift;  // from sections to groups
  bool has_float_y;
  const void* x;
  const int32_t* x_row;
  const float* entry_weight;
  void* y;
  const int32_t* y_place;
  int64_t y_place_stride;
  const int32_t* offsets;
  const int32_t* active_experts;
  const int32_t* expert_place;
};

// kGroups groups of 16 rows of the weights by kTiles tiles of 8 entries.
template <WeightFormat kWeightFormat, bool kGateUp, int kGroups, int kTiles, int kNumWarps, int kBlocksPerProcessor>
struct StreamingShape {
  static constexpr WeightFormat kFormat = kWeightFormat;
  static constexpr bool kIsGateUp = kGateUp;
  static constexpr int kWarps = kNumWarps;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kMinBlocks = kBlocksPerProcessor;
  static constexpr int kRows = 16 * kGroups;
  static constexpr int kRowPieces = 2 * kGroups;                   // of 8 rows; a lane has one row of each
  static constexpr int kFeatures = kIsGateUp ? kRows / 2 : kRows;  // of y
  static constexpr int kColumns = 8 * kTiles;
  static constexpr int kSections = kBlockColumns(kFormat) / kScaleColumns;
  static constexpr int kScales = kRowPieces * kSections;  // of the four lanes that share rows, in a step
  static constexpr int kLaneScales = (kScales + 3) / 4;
  static constexpr int kSumStride = kRows + 4;
  static_assert(!kIsGateUp || kGroups >= 2);
};

template <typename T, typename Shape>
using ShapeDequantizer = Dequantizer<T, Shape::kFormat>;

// Shared memory: the dequantiser's table, the map of nested scales, the sums of half of the warps.
template <typename T, typename Shape>
struct SharedLayout {
  static constexpr size_t kMap = ShapeDequantizer<T, Shape>::kSharedBytes;
  static constexpr size_t kSums = kMap + (Shape::kFormat == WeightFormat::kNf4 ? kMapSize * sizeof(float) : 0);
  static constexpr size_t kBytes = kSums + sizeof(float) * Shape::kWarps / 2 * Shape::kColumns * Shape::kSumStride;
};

__device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ __forceinline__ int Warp() { return static_cast<int>(threadIdx.x) / kWarpSize; }

// What one warp multiplies: kRows rows of the weights by entries [first_entry, first_entry + num_columns).
template <typename T, typename Shape>
class StreamingWarp {
 public:
  using Sums = float[Shape::kRows / 16][Shape::kColumns / 8][4];

  // `matrix` is the expert's.
  __device__ StreamingWarp(const Params& p, const QuantizedMatrix& matrix, int32_t first_feature, int32_t first_entry,
                           int num_columns, const float* dynamic_map)
      : in_features_(p.in_features),
        num_blocks_(static_cast<int32_t>(p.weights.padded_columns / kBlockColumns(Shape::kFormat))),
        num_tiles_((num_columns + 7) / 8),
        scale_shift_(p.scale_shift),
        matrix_(matrix),
        dynamic_map_(dynamic_map) {
    const int g = Lane() / 4;
    const int t = Lane() % 4;
#pragma unroll
    for (int i = 0; i < Shape::kRowPieces; ++i) {
      codes_[i] = static_cast<uint32_t>(Row(p, first_feature, i) * matrix.row_bytes + t * kChunkBytes);
    }
#pragma unroll
    for (int j = 0; j < Shape::kLaneScales; ++j) {
      const int scale = min(t * Shape::kLaneScales + j, Shape::kScales - 1);
      readers_[j] = ScaleReader<Shape::kFormat>(matrix, Row(p, first_feature, scale % Shape::kRowPieces));
    }
#pragma unroll
    for (int tile = 0; tile < Shape::kColumns / 8; ++tile) {
      const int column = tile * 8 + g;
      const int32_t entry = first_entry + column;
      x_[tile] = nullptr;
      if (column >= num_columns) continue;
      x_[tile] = static_cast<const T*>(p.x) + int64_t{p.x_row == nullptr ? entry : p.x_row[entry]} * p.in_features;
    }
  }

  // sums[group][tile] += the products over all of this warp's steps.
  __device__ void Multiply(const ShapeDequantizer<T, Shape>& dequantize, Sums& sums) const {
    using Reader = ScaleReader<Shape::kFormat>;
    if (Warp() >= num_blocks_) return;
    uint4 codes[Shape::kRowPieces];
    uint32_t scales[Shape::kLaneScales];
    LoadScales(Warp(), scales);
#pragma unroll
    for (int i = 0; i < Shape::kRowPieces; ++i) codes[i] = LoadCodes(Warp(), i);
    for (int32_t block = Warp(); block < num_blocks_; block += Shape::kWarps) {
      const int32_t next = block + Shape::kWarps;
      const bool has_next = next < num_blocks_;
      uint32_t finished[Shape::kLaneScales];
#pragma unroll
      for (int j = 0; j < Shape::kLaneScales; ++j) {
        finished[j] = readers_[j].Finish(matrix_, dynamic_map_, scales[j], Group(block, j));
      }
      if (has_next) LoadScales(next, scales);
      uint32_t x[Shape::kSections][Shape::kColumns / 8][8];
#pragma unroll
      for (int s = 0; s < Shape::kSections; ++s) {
#pragma unroll
        for (int tile = 0; tile < Shape::kColumns / 8; ++tile) {
          const int32_t k = (block * Shape::kSections + s) * kScaleColumns + Lane() % 4 * 16;
          if (tile < num_tiles_) LoadX(tile, k, x[s][tile]);
        }
      }
#pragma unroll
      for (int group = 0; group < Shape::kRows / 16; ++group) {
#pragma unroll
        for (int s = 0; s < Shape::kSections; ++s) {
          const uint32_t upper_scale = Share(finished, s, 2 * group);      // row g
          const uint32_t lower_scale = Share(finished, s, 2 * group + 1);  // row g + 8
          uint32_t upper[8];
          uint32_t lower[8];
          Dequantize(dequantize, codes[2 * group], s, dequantize.Zero(Reader::Zero(upper_scale)), upper);
          Dequantize(dequantize, codes[2 * group + 1], s, dequantize.Zero(Reader::Zero(lower_scale)), lower);
#pragma unroll
          for (int tile = 0; tile < Shape::kColumns / 8; ++tile) {
            if (tile >= num_tiles_) continue;
            float partial[4] = {};
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              MmaM16N8K16<T>(partial, {upper[2 * j], lower[2 * j], upper[2 * j + 1], lower[2 * j + 1]},
                             {x[s][tile][2 * j], x[s][tile][2 * j + 1]});
            }
            float(&sum)[4] = sums[group][tile];
            sum[0] = fmaf(Reader::Scale(upper_scale), partial[0], sum[0]);
            sum[1] = fmaf(Reader::Scale(upper_scale), partial[1], sum[1]);
            sum[2] = fmaf(Reader::Scale(lower_scale), partial[2], sum[2]);
            sum[3] = fmaf(Reader::Scale(lower_scale), partial[3], sum[3]);
          }
        }
        // As soon as they are used up: what is under way takes no registers twice.
        if (!has_next) continue;
        codes[2 * group] = LoadCodes(next, 2 * group);
        codes[2 * group + 1] = LoadCodes(next, 2 * group + 1);
      }
    }
  }

 private:
  // Row of the matrix of this lane in piece `i`; where there is none the last one, whose products are not stored.
  static __device__ __forceinline__ int32_t Row(const Params& p, int32_t first_feature, int i) {
    constexpr int kFeaturePieces = Shape::kFeatures / 8;
    const int32_t feature = min(first_feature + i % kFeaturePieces * 8 + Lane() / 4, p.out_features - 1);
    return feature + (i >= kFeaturePieces ? p.out_features : 0);
  }

  // The group of this lane's scale `j` in a block.
  __device__ __forceinline__ int32_t Group(int32_t block, int j) const {
    const int scale = min(Lane() % 4 * Shape::kLaneScales + j, Shape::kScales - 1);
    return (block * Shape::kSections + scale / Shape::kRowPieces) >> scale_shift_;
  }

  __device__ __forceinline__ uint4 LoadCodes(int32_t block, int i) const {
    return LoadStreaming16(matrix_.codes + codes_[i] + static_cast<uint32_t>(block * kBlockBytes));
  }

  __device__ __forceinline__ void LoadScales(int32_t block, uint32_t (&scales)[Shape::kLaneScales]) const {
#pragma unroll
    for (int j = 0; j < Shape::kLaneScales; ++j) scales[j] = readers_[j].Load(matrix_, Group(block, j));
  }

  // Scale word of piece `i` in section `s`.
  static __device__ __forceinline__ uint32_t Share(const uint32_t (&finished)[Shape::kLaneScales], int s, int i) {
    const int scale = s * Shape::kRowPieces + i;
    return __shfl_sync(kFullWarp, finished[scale % Shape::kLaneScales], scale / Shape::kLaneScales, 4);
  }

  // This lane's 16 columns of section `s`, as pairs.
  __device__ __forceinline__ void Dequantize(const ShapeDequantizer<T, Shape>& dequantize, uint4 codes, int s,
                                             uint32_t zero, uint32_t (&pairs)[8]) const {
    constexpr int kWordPairs = ShapeDequantizer<T, Shape>::kWordPairs;
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
    for (int w = 0; w < 8 / kWordPairs; ++w) {
      uint32_t of_word[kWordPairs];
      dequantize(words[s * (8 / kWordPairs) + w], zero, of_word);
#pragma unroll
      for (int i = 0; i < kWordPairs; ++i) pairs[w * kWordPairs + i] = of_word[i];
    }
  }

  __device__ __forceinline__ void LoadX(int tile, int32_t k, uint32_t (&pairs)[8]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint4 x = make_uint4(0, 0, 0, 0);
      const int32_t column = k + half * 8;
      if (x_[tile] != nullptr && column < in_features_) x = *reinterpret_cast<const uint4*>(x_[tile] + column);
      pairs[half * 4] = x.x;
      pairs[half * 4 + 1] = x.y;
      pairs[half * 4 + 2] = x.z;
      pairs[half * 4 + 3] = x.w;
    }
  }

  const int32_t in_features_;
  const int32_t num_blocks_;
  const int num_tiles_;
  const int32_t scale_shift_;
  const QuantizedMatrix& matrix_;
  const float* dynamic_map_;
  uint32_t codes_[Shape::kRowPieces];  // where this lane's chunks of the first block lie, in bytes
  ScaleReader<Shape::kFormat> readers_[Shape::kLaneScales];
  const T* x_[Shape::kColumns / 8];  // the row of this lane's column in each tile; null: none
};

// Adds the sums of all warps and writes y for `num_columns` entries from first_entry on.
template <typename T, typename Shape>
__device__ void StoreSums(const Params& p, int32_t expert_place, int32_t first_feature, int32_t first_entry,
                          int num_columns, const typename StreamingWarp<T, Shape>::Sums& sums) {
  constexpr int kHalf = Shape::kWarps / 2;
  constexpr int kWarpStride = Shape::kColumns * Shape::kSumStride;
  const int g = Lane() / 4;
  const int t = Lane() % 4;
  auto* shared =
      reinterpret_cast<float*>(DynamicShared<unsigned char>() + SharedLayout<T, Shape>::kSums);  // [kHalf, columns, ..]
  // The second half of the warps writes, the first half adds.
  for (int turn = 0; turn < 2; ++turn) {
    if (Warp() / kHalf == 1 - turn) {
#pragma unroll
      for (int group = 0; group < Shape::kRows / 16; ++group) {
#pragma unroll
        for (int tile = 0; tile < Shape::kColumns / 8; ++tile) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int column = tile * 8 + 2 * t + i % 2;
            const int row = group * 16 + i / 2 * 8 + g;
            float* to = shared + Warp() % kHalf * kWarpStride + column * Shape::kSumStride + row;
            *to = turn == 0 ? sums[group][tile][i] : *to + sums[group][tile][i];
          }
        }
      }
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < num_columns * Shape::kFeatures; i += Shape::kThreads) {
    const int column = i / Shape::kFeatures;
    const int feature = i % Shape::kFeatures;
    const int32_t of_y = first_feature + feature;
    if (of_y >= p.out_features) continue;
    const float* sum = shared + column * Shape::kSumStride + feature;
    float first = 0;
    float second = 0;  // the product with w3
#pragma unroll
    for (int w = 0; w < kHalf; ++w) {
      first += sum[w * kWarpStride];
      if constexpr (Shape::kIsGateUp) second += sum[w * kWarpStride + Shape::kFeatures];
    }
    const int32_t entry = first_entry + column;
    const int32_t place = p.y_place == nullptr ? of_y : p.y_place[expert_place * p.y_place_stride + of_y];
    const int64_t at = int64_t{entry} * p.out_features + place;
    float y = Shape::kIsGateUp ? SiluMultiply(first, second) : first;
    if (p.entry_weight != nullptr) y *= p.entry_weight[entry];
    if (p.has_float_y) {
      static_cast<float*>(p.y)[at] = y;
    } else {
      static_cast<T*>(p.y)[at] = FromFloat<T>(y);
    }
  }
  __syncthreads();  // the sums have been read
}

// Grid: as many blocks as stay on the GPU at once, or fewer.
template <typename T, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) StreamingKernel(const Params p) {
  using Layout = SharedLayout<T, Shape>;
  unsigned char* shared = DynamicShared<unsigned char>();
  ShapeDequantizer<T, Shape>::Prepare(shared, p.nf4);
  const float* dynamic_map = nullptr;
  if (p.weights.dynamic_map != nullptr) {
    auto* map = reinterpret_cast<float*>(shared + Layout::kMap);
    for (int i = threadIdx.x; i < kMapSize; i += Shape::kThreads) map[i] = p.weights.dynamic_map[i];
    dynamic_map = map;
  }
  __syncthreads();
  const ShapeDequantizer<T, Shape> dequantize(shared);
  const int32_t end_item = p.num_items * p.max_experts;
  for (int32_t item = blockIdx.x; item < end_item; item += gridDim.x) {
    const int32_t expert = p.offsets == nullptr ? 0 : p.active_experts[item / p.num_items];
    if (expert < 0) return;  // no item of a later expert either
    const int32_t expert_place = PlaceOf(p.expert_place, expert);
    if (expert_place < 0) continue;
    const int32_t begin = p.offsets == nullptr ? 0 : p.offsets[expert];
    const int32_t end = p.offsets == nullptr ? p.num_entries : p.offsets[expert + 1];
    const int32_t first_feature = item % p.num_items * Shape::kFeatures;
    const QuantizedMatrix matrix = MatrixAt(p.weights, expert_place);
    for (int32_t first = begin; first < end; first += Shape::kColumns) {
      const int num_columns = min(end - first, Shape::kColumns);
      typename StreamingWarp<T, Shape>::Sums sums = {};
      StreamingWarp<T, Shape>(p, matrix, first_feature, first, num_columns, dynamic_map).Multiply(dequantize, sums);
      StoreSums<T, Shape>(p, expert_place, first_feature, first, num_columns, sums);
    }
  }
}

int64_t NumItems(int64_t out_features, int features) { return (out_features + features - 1) / features; }

template <typename T, typename Shape>
void LaunchShaped(const QuantizedGemmArgs& args, Stream stream) {
  const ExpertPermutation& entries = args.permutation;
  const bool is_grouped = entries.offsets != nullptr;
  const int64_t items = NumItems(args.out_features(), Shape::kFeatures);
  const int64_t experts = is_grouped ? entries.max_active_experts() : 1;
  const int64_t blocks = std::min<int64_t>(items * experts, int64_t{args.num_multiprocessors} * Shape::kMinBlocks);
  Launch(StreamingKernel<T, Shape>,
         LaunchShape{.grid = dim3(static_cast<unsigned>(blocks)),
                     .block = dim3(Shape::kThreads),
                     .shared_bytes = SharedLayout<T, Shape>::kBytes},
         stream,
         Params{.weights = args.weights,
                .nf4 = MakeNf4Halves<T>(),
                .in_features = static_cast<int32_t>(args.weights.columns),
                .out_features = static_cast<int32_t>(args.out_features()),
                .num_items = static_cast<int32_t>(items),
                .max_experts = static_cast<int32_t>(experts),
                .num_entries = static_cast<int32_t>(entries.num_pairs),
                .scale_shift = args.weights.quantization.group_size == kScaleColumns ? 0 : 1,
                .has_float_y = args.y_dtype == DType::kFloat32,
                .x = args.x,
                .x_row = args.x_row,
                .entry_weight = args.weight,
                .y = args.y,
                .y_place = args.y_place,
                .y_place_stride = args.y_place_stride,
                .offsets = entries.offsets,
                .active_experts = entries.active_experts,
                .expert_place = entries.expert_place});
}

template <typename T, WeightFormat kFormat, bool kIsGateUp>
void LaunchFormat(const QuantizedGemmArgs& args, Stream stream) {
  const ExpertPermutation& entries = args.permutation;
  const int64_t experts = entries.offsets == nullptr ? 1 : entries.max_active_experts();
  // Too few blocks have too few loads in flight: divide finer where that would be all.
  const auto is_small = [&](int features) {
    return NumItems(args.out_features(), features) * experts < 3 * int64_t{args.num_multiprocessors};
  };
  if (entries.num_pairs > 8) {
    if (is_small(kIsGateUp ? 32 : 64)) {
      return LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 2, 2, 8, 2>>(args, stream);
    }
    return LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 4, 2, 4, 3>>(args, stream);
  }
  if constexpr (!kIsGateUp) {
    if (is_small(32)) return LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 1, 1, 8, 3>>(args, stream);
  }
  LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 2, 1, 4, 4>>(args, stream);
}

template <typename T, WeightFormat kFormat>
void LaunchProduct(const QuantizedGemmArgs& args, Stream stream) {
  return args.is_gate_up ? LaunchFormat<T, kFormat, true>(args, stream) : LaunchFormat<T, kFormat, false>(args, stream);
}

}  // namespace

void LaunchQuantizedGemmStreaming(const QuantizedGemmArgs& args, Stream stream) {
  CHECK(args.permutation.num_pairs > 0 && args.out_features() > 0);
  CHECK_EQ(args.weights.columns % 8, 0);
  DispatchHalf(args.dtype, [&](auto half) {
    using T = decltype(half);
    switch (args.weights.quantization.format) {
      case WeightFormat::kNf4:
        return LaunchProduct<T, WeightFormat::kNf4>(args, stream);
      case WeightFormat::kInt4:
        return LaunchProduct<T, WeightFormat::kInt4>(args, stream);
      case WeightFormat::kInt8:
        return LaunchProduct<T, WeightFormat::kInt8>(args, stream);
      case WeightFormat::kDense:
        CHECK(false);
    }
  });
}

}  // namespace switchyard::cuda
