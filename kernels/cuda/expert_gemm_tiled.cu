// The expert products for many entries per expert, bound by the rate of mma.sync.
//
// A block computes 128 entries by 256 rows of the weights (wide) or by 128 (narrow, where wide tiles are too few for
// the multiprocessors), 8 warps 64 entries by a quarter of the rows each, in steps of 32 along k: a ring of steps
// filled by cp.async and read by ldmatrix; the fragments of the next 16 of k load while the last are multiplied. In the
// gate-up product half of each warp's rows are of w1 and half of w3 for the same features, so that a thread holds both
// factors of its results.
//
// A row of a step in shared memory is 64 bytes, four chunks of 16; chunk c of row r lies at place c ^ (r / 2 % 4),
// which makes both the copies and ldmatrix free of bank conflicts.
//
// Blocks are ordered so that those at work together share tiles in L2: for each group of kGroupTiles tiles of entries
// of one expert, all tiles of the weights, entries first.
#include <algorithm>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/expert_gemm.cuh"
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kTileEntries = static_cast<int>(kExpertTileRows);
constexpr int kStepElements = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kWarpEntries = 64;
constexpr int kGroupTiles = 16;
constexpr int kCopyRows = kThreads / 4;  // rows of a step that all threads copy at once
static_assert(kTileEntries == 2 * kWarpEntries);

// kRows rows of the weights per warp.
template <ExpertProduct kProduct, int kRows, int kDepth>
struct TiledShape {
  static constexpr bool kIsGateUp = kProduct == ExpertProduct::kGateUp;
  static constexpr int kWarpRows = kRows;
  static constexpr int kTileRows = kWarps / 2 * kWarpRows;
  static constexpr int kTileFeatures = kIsGateUp ? kTileRows / 2 : kTileRows;  // of y
  static constexpr int kStages = kDepth;
  static constexpr int kStageElements = (kTileEntries + kTileRows) * kStepElements;
  static constexpr size_t kRingBytes = size_t{2} * kStages * kStageElements;
};
template <ExpertProduct kProduct>
using WideShape = TiledShape<kProduct, 64, 4>;
template <ExpertProduct kProduct>
using NarrowShape = TiledShape<kProduct, 32, 6>;
static_assert(WideShape<ExpertProduct::kDown>::kRingBytes <= 96 * 1024);
static_assert(NarrowShape<ExpertProduct::kDown>::kRingBytes <= 96 * 1024);

struct Tile {
  int32_t expert;
  int32_t place;  // of its weights
  int32_t first_entry;
  int32_t num_entries;
  int32_t first_feature;
};

// False: no such tile.
template <typename T, typename Shape>
__device__ bool FindTile(const ExpertGemmParams<T>& p, Tile* tile) {
  const int32_t num_columns = (p.out_features + Shape::kTileFeatures - 1) / Shape::kTileFeatures;
  const int32_t block = static_cast<int32_t>(blockIdx.x);
  tile->expert = p.tile_expert[block / num_columns];
  if (tile->expert < 0) return false;
  tile->place = PlaceOf(p.expert_place, tile->expert);
  if (tile->place < 0) return false;
  const int32_t expert_tiles = p.tile_begin[tile->expert + 1] - p.tile_begin[tile->expert];
  const int32_t in_expert = block - p.tile_begin[tile->expert] * num_columns;
  const int32_t group_begin = in_expert / (kGroupTiles * num_columns) * kGroupTiles;
  const int32_t group_tiles = min(kGroupTiles, expert_tiles - group_begin);
  const int32_t in_group = in_expert - group_begin * num_columns;
  tile->first_entry = p.offsets[tile->expert] + (group_begin + in_group % group_tiles) * kTileEntries;
  tile->num_entries = min(kTileEntries, p.offsets[tile->expert + 1] - tile->first_entry);
  tile->first_feature = in_group / group_tiles * Shape::kTileFeatures;
  return true;
}

// Copies the steps of k, one after the other, into the ring. A thread copies one chunk of every kCopyRows-th row.
template <typename T, typename Shape>
class TileCopier {
 public:
  __device__ TileCopier(const ExpertGemmParams<T>& p, const Tile& tile)
      : k_(static_cast<int>(threadIdx.x) % 4 * 8), end_(p.in_features) {
    constexpr bool kIsGateUp = Shape::kIsGateUp;
    const int row = static_cast<int>(threadIdx.x) / 4;
    shared_ = DynamicShared<T>() + row * kStepElements + (static_cast<int>(threadIdx.x) % 4 ^ row / 2 % 4) * 8;
#pragma unroll
    for (int i = 0; i < kTileEntries / kCopyRows; ++i) {
      has_entry_[i] = row + kCopyRows * i < tile.num_entries;
      const int32_t entry = tile.first_entry + (has_entry_[i] ? row + kCopyRows * i : 0);
      x_[i] = p.x + int64_t{kIsGateUp ? p.entry_row[entry] : entry} * p.in_features;
    }
    // Of the gate-up product's rows, each kWarpRows are kHalf of w1, then kHalf of w3.
    constexpr int kHalf = Shape::kWarpRows / 2;
    const int32_t feature = tile.first_feature + (kIsGateUp ? row / Shape::kWarpRows * kHalf + row % kHalf : row);
    const bool is_up = kIsGateUp && row % Shape::kWarpRows >= kHalf;
    const int64_t rows_per_expert = kIsGateUp ? 2 * int64_t{p.out_features} : p.out_features;
    const int64_t first_row = tile.place * rows_per_expert + (is_up ? p.out_features : 0);
    weights_ = p.weights + (first_row + feature) * p.in_features;
    row_stride_ = int64_t{kFeatureStride} * p.in_features;
    num_rows_ = max(0, (p.out_features - feature + kFeatureStride - 1) / kFeatureStride);
  }

  // The next step into `stage`; zeros beyond the tile.
  __device__ __forceinline__ void CopyStep(int stage) {
    T* target = shared_ + stage * Shape::kStageElements;
    const bool has_k = k_ < end_;
    const int32_t k = has_k ? k_ : 0;
#pragma unroll
    for (int i = 0; i < kTileEntries / kCopyRows; ++i) {
      CpAsync16(target + i * kCopyRows * kStepElements, x_[i] + k, has_k && has_entry_[i]);
    }
    target += kTileEntries * kStepElements;
#pragma unroll
    for (int i = 0; i < Shape::kTileRows / kCopyRows; ++i) {
      const bool valid = has_k && i < num_rows_;
      CpAsync16(target + i * kCopyRows * kStepElements, valid ? weights_ + i * row_stride_ + k : x_[0], valid);
    }
    k_ += kStepElements;
  }

 private:
  static constexpr int kFeatureStride = Shape::kIsGateUp ? kCopyRows / 2 : kCopyRows;

  int32_t k_;
  const int32_t end_;
  T* shared_;
  const T* x_[kTileEntries / kCopyRows];
  bool has_entry_[kTileEntries / kCopyRows];
  const T* weights_;
  int64_t row_stride_;
  int num_rows_;  // of those that this thread copies, how many there are
};

// A warp's operands for 16 of k.
template <int kWarpRows>
struct Fragments {
  uint32_t a[kWarpEntries / 16][4];
  uint32_t b[kWarpRows / 16][4];  // two tiles of 8 rows each
};

// `a_row` and `b_row` are this lane's rows for ldmatrix in stage 0, `offset` that of its chunk, in elements.
template <typename T, int kWarpRows>
__device__ __forceinline__ void LoadFragments(const T* a_row, const T* b_row, int a_offset, int b_offset,
                                              Fragments<kWarpRows>& fragments) {
#pragma unroll
  for (int i = 0; i < kWarpEntries / 16; ++i) LdMatrixX4(fragments.a[i], a_row + i * 16 * kStepElements + a_offset);
#pragma unroll
  for (int i = 0; i < kWarpRows / 16; ++i) LdMatrixX4(fragments.b[i], b_row + i * 16 * kStepElements + b_offset);
}

template <int kWarpRows>
using Sums = float[kWarpEntries / 16][kWarpRows / 8][4];

template <typename T, int kWarpRows>
__device__ __forceinline__ void MultiplyFragments(const Fragments<kWarpRows>& fragments, Sums<kWarpRows>& sums) {
#pragma unroll
  for (int i = 0; i < kWarpEntries / 16; ++i) {
#pragma unroll
    for (int j = 0; j < kWarpRows / 8; ++j) {
      MmaM16N8K16<T>(sums[i][j], fragments.a[i], {fragments.b[j / 2][j % 2 * 2], fragments.b[j / 2][j % 2 * 2 + 1]});
    }
  }
}

template <typename T, typename Shape>
__device__ __forceinline__ void MultiplyTile(const ExpertGemmParams<T>& p, const Tile& tile, bool is_active,
                                             Sums<Shape::kWarpRows>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  TileCopier<T, Shape> copier(p, tile);
#pragma unroll
  for (int stage = 0; stage < Shape::kStages - 1; ++stage) {
    copier.CopyStep(stage);
    CpAsyncCommit();
  }

  // Matrices 0..3 of A are rows 0-7, 8-15 of the first chunk, then of the second; of B rows 0-7 of both chunks, then
  // rows 8-15.
  const T* shared = DynamicShared<T>();
  const int swizzle = lane / 2 % 4;
  const T* a_row = shared + (warp / 4 * kWarpEntries + lane % 16) * kStepElements;
  const T* b_row = shared + (kTileEntries + warp % 4 * Shape::kWarpRows + lane % 8 + lane / 16 * 8) * kStepElements;
  const int a_offset = (lane / 16 ^ swizzle) * 8;
  const int b_offset = (lane / 8 % 2 ^ swizzle) * 8;
  constexpr int kSecondHalf = 16;  // exclusive or with an offset: two chunks on

  Fragments<Shape::kWarpRows> fragments[2];
  CpAsyncWait<Shape::kStages - 2>();
  __syncthreads();
  if (is_active) LoadFragments(a_row, b_row, a_offset, b_offset, fragments[0]);
  const int32_t num_steps = (p.in_features + kStepElements - 1) / kStepElements;
  int stage = 0;
  for (int32_t step = 0; step < num_steps; ++step) {
    const int offset = stage * Shape::kStageElements;
    if (is_active) {
      LoadFragments(a_row + offset, b_row + offset, a_offset ^ kSecondHalf, b_offset ^ kSecondHalf, fragments[1]);
    }
    copier.CopyStep((stage + Shape::kStages - 1) % Shape::kStages);
    CpAsyncCommit();
    if (is_active) MultiplyFragments<T, Shape::kWarpRows>(fragments[0], sums);

    // All have read this step's stage, which the next copy fills, and all of the next step has arrived.
    CpAsyncWait<Shape::kStages - 2>();
    __syncthreads();
    stage = (stage + 1) % Shape::kStages;
    if (is_active) {
      if (step + 1 < num_steps) {
        const int next = stage * Shape::kStageElements;
        LoadFragments(a_row + next, b_row + next, a_offset, b_offset, fragments[0]);
      }
      MultiplyFragments<T, Shape::kWarpRows>(fragments[1], sums);
    }
  }
  CpAsyncWait<0>();
}

// Through shared memory, so that y is written in 16-byte pieces of whole rows.
template <typename T, typename Shape>
__device__ __forceinline__ void StoreTile(const ExpertGemmParams<T>& p, const Tile& tile,
                                          const Sums<Shape::kWarpRows>& sums) {
  constexpr int kFeatures = Shape::kTileFeatures;
  constexpr int kStride = kFeatures / 2 + 4;  // in pairs of elements; 4 more keep stores free of bank conflicts
  static_assert(sizeof(uint32_t) * kTileEntries * kStride <= Shape::kRingBytes);
  const int g = static_cast<int>(threadIdx.x) % kWarpSize / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  uint32_t* shared = DynamicShared<uint32_t>();  // [kTileEntries, kStride]
  __syncthreads();                               // the ring is drained
#pragma unroll
  for (int i = 0; i < kWarpEntries / 16; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int entry = warp / 4 * kWarpEntries + i * 16 + half * 8 + g;
      uint32_t* row = shared + entry * kStride + warp % 4 * (kFeatures / 8) + t;
      if constexpr (Shape::kIsGateUp) {
#pragma unroll
        for (int j = 0; j < Shape::kWarpRows / 16; ++j) {
          const float* gate = &sums[i][j][2 * half];
          const float* up = &sums[i][j + Shape::kWarpRows / 16][2 * half];
          row[j * 4] = Pack2<T>(SiluMultiply(gate[0], up[0]), SiluMultiply(gate[1], up[1]));
        }
      } else {
        const float weight = entry < tile.num_entries ? p.entry_weight[tile.first_entry + entry] : 0.0f;
#pragma unroll
        for (int j = 0; j < Shape::kWarpRows / 8; ++j) {
          row[j * 4] = Pack2<T>(weight * sums[i][j][2 * half], weight * sums[i][j][2 * half + 1]);
        }
      }
    }
  }
  __syncthreads();
  constexpr int kPieces = kFeatures / 8;  // of 16 bytes, in a row
  for (int i = threadIdx.x; i < tile.num_entries * kPieces; i += kThreads) {
    const int entry = i / kPieces;
    const int32_t feature = tile.first_feature + i % kPieces * 8;
    if (feature >= p.out_features) continue;
    *reinterpret_cast<uint4*>(p.y + int64_t{tile.first_entry + entry} * p.out_features + feature) =
        *reinterpret_cast<const uint4*>(shared + entry * kStride + i % kPieces * 4);
  }
}

// Grid: [max_tiles * tiles of the weights' rows].
template <typename T, typename Shape>
__global__ void __launch_bounds__(kThreads, 1) TiledKernel(ExpertGemmParams<T> p) {
  WaitForPrevious();
  Tile tile;
  if (!FindTile<T, Shape>(p, &tile)) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  Sums<Shape::kWarpRows> sums = {};
  // Warps 0 to 3, one per quarter of the multiprocessor, take the first half of the entries; often there is no second.
  MultiplyTile<T, Shape>(p, tile, warp / 4 * kWarpEntries < tile.num_entries, sums);
  LetNextStart();
  StoreTile<T, Shape>(p, tile, sums);
}

template <typename Shape>
int64_t MaxBlocks(const ExpertGemmArgs& args) {
  return args.permutation.max_tiles() * ((args.out_features + Shape::kTileFeatures - 1) / Shape::kTileFeatures);
}

template <typename T, typename Shape>
void LaunchShaped(const ExpertGemmArgs& args, Stream stream) {
  Launch(TiledKernel<T, Shape>,
         LaunchShape{.grid = dim3(static_cast<unsigned>(MaxBlocks<Shape>(args))),
                     .block = dim3(kThreads),
                     .shared_bytes = Shape::kRingBytes},
         stream, ExpertGemmParams<T>(args));
}

template <typename T, ExpertProduct kProduct>
void LaunchProduct(const ExpertGemmArgs& args, Stream stream) {
  if (MaxBlocks<WideShape<kProduct>>(args) < 2 * args.num_multiprocessors) {
    LaunchShaped<T, NarrowShape<kProduct>>(args, stream);
  } else {
    LaunchShaped<T, WideShape<kProduct>>(args, stream);
  }
}

}  // namespace

void TiledExpertGemm(const ExpertGemmArgs& args, Stream stream) {
  DispatchExpertGemm(args, [&]<typename T, ExpertProduct kProduct>() { LaunchProduct<T, kProduct>(args, stream); });
}

}  // namespace switchyard::cuda
