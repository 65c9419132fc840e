// Products with quantised weights for many entries per matrix, bound by the rate of mma.sync.
//
// A block computes 128 rows of the weights by 128 entries, each of its four warps 32 rows by all entries, in steps of
// 64 columns. Codes and activations pass through rings in shared memory, filled by cp.async; weights exist dequantised
// in registers only, and no two warps of a block dequantise the same. A warp's 32 rows are two sets of 16, the A
// operands of mma.m16n8k16; entries are the columns of B. In the gate-up product the first set is of W1 and the second
// of W3 for the same features, so that a thread holds both factors of its results. Of a tile that is not full only what
// there is gets copied and multiplied, in pieces of 16 entries.
//
// Columns of a step are multiplied in the order of quantized_gemm_streaming.cu: product j takes from lane t (of the
// four that share a row) columns 16 t + 4 j + {0 .. 3}, which are neighbours in the codes and in x; so both operands
// are read in whole words, x in 16 bytes, and nothing is exchanged between lanes. The sums of a step, all of one scale
// group, are added to the result in float32, times the scale: scaling weights before the product would round each to T
// once more.
//
// Shared memory: a row of x in a step is eight chunks of 16 bytes, chunk c of row r at place c ^ (r % 2), a row of
// codes is a block (quantized_matrix.h) of one or two steps. Eight lanes that read together touch every bank once. Two
// blocks fit on a multiprocessor of an A100 or H100; while one waits at a barrier or dequantises, the other multiplies.
#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantized_gemm.cuh"
#include "kernels/cuda/quantized_scales.cuh"
#include "kernels/cuda/quantized_tile.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {
namespace quantized_tile {
namespace {

constexpr int kPieceEntries = 16;
constexpr int kPieces = kTileEntries / kPieceEntries;
constexpr int kXStageElements = kTileEntries * kScaleColumns;
constexpr int kCodeStageBytes = kTileRows * kBlockBytes;

template <typename Element, WeightFormat kWeightFormat>
struct TiledShape {
  using T = Element;
  using Weights = Dequantizer<T, kWeightFormat>;
  using Scales = ScaleReader<kWeightFormat>;
  static constexpr WeightFormat kFormat = kWeightFormat;
  static constexpr int kBlockSteps = kBlockColumns(kFormat) / kScaleColumns;
  static constexpr int kRowWords = 4 / kBlockSteps;  // of codes, of a lane's columns of a row in a step
  // NF4 has a table in shared memory as well.
  static constexpr int kXStages = kFormat == WeightFormat::kNf4 ? 2 : 3;
  static constexpr int kCodeStages = kFormat == WeightFormat::kNf4 ? 2 : 3;
  // Codes are copied with the x of that many steps ahead at most: then both have arrived together.
  static_assert(kBlockSteps * (kCodeStages - 1) >= kXStages - 1);

  // Shared memory. Results take the place of everything but the rows of x.
  static constexpr size_t kCodes = sizeof(T) * kXStages * kXStageElements;
  static constexpr size_t kTable = kCodes + size_t{kCodeStages} * kCodeStageBytes;
  static constexpr size_t kRows = kTable + Weights::kSharedBytes;
  static constexpr size_t kBytes = kRows + sizeof(const T*) * kTileEntries;
  static_assert(sizeof(float) * kTileEntries * kSumStride <= kRows);
  static_assert(kBytes <= 96 * 1024);
};

// Fills the rings. Rows that the tile does not have are left as they are: their products are not stored.
template <typename Shape>
class TileCopier {
 public:
  using T = typename Shape::T;

  // The block passes a barrier before the first copy.
  __device__ TileCopier(const Params& p, const Tile& tile, const QuantizedMatrix& matrix, unsigned char* shared)
      : in_features_(p.in_features), rows_(reinterpret_cast<const T**>(shared + Shape::kRows)) {
    const auto thread = static_cast<int>(threadIdx.x);
    const int32_t entry = tile.first_entry + thread;
    if (thread < tile.num_entries) {
      rows_[thread] = static_cast<const T*>(p.x) + int64_t{p.x_row == nullptr ? entry : p.x_row[entry]} * p.in_features;
    }
    rows_ += thread / 8;
    num_rows_ = (tile.num_entries - thread / 8 + kXRows - 1) / kXRows;
    k_ = thread % 8 * 8;
    x_ = reinterpret_cast<T*>(shared) + thread / 8 * kScaleColumns + (thread % 8 ^ thread / 8 % 2) * 8;

    const int row = thread / 4;
    const int32_t feature = FeatureOf(p, tile, row);
    const int32_t feature_stride = p.is_gate_up ? kCodeRows / 2 : kCodeRows;
    source_ = matrix.codes + MatrixRow(p, feature, row) * matrix.row_bytes + thread % 4 * kChunkBytes;
    source_stride_ = feature_stride * matrix.row_bytes;
    num_sources_ = (p.out_features - feature + feature_stride - 1) / feature_stride;
    codes_ = shared + Shape::kCodes + thread * kChunkBytes;
  }

  // Zeros beyond the row: codes there are of unspecified values.
  __device__ __forceinline__ void CopyX(int32_t step, int stage) const {
    const int32_t k = step * kScaleColumns + k_;
    const bool valid = k < in_features_;
#pragma unroll
    for (int i = 0; i < kTileEntries / kXRows; ++i) {
      if (i >= num_rows_) continue;
      CpAsync16(x_ + stage * kXStageElements + i * kXRows * kScaleColumns, rows_[i * kXRows] + (valid ? k : 0), valid);
    }
  }

  __device__ __forceinline__ void CopyCodes(int32_t block, int stage) const {
#pragma unroll
    for (int i = 0; i < kTileRows / kCodeRows; ++i) {
      if (i >= num_sources_) continue;
      CpAsync16(codes_ + stage * kCodeStageBytes + i * kCodeRows * kBlockBytes,
                source_ + i * source_stride_ + block * kBlockBytes, true);
    }
  }

 private:
  static constexpr int kXRows = kThreads / 8;     // that all threads copy at once
  static constexpr int kCodeRows = kThreads / 4;  // the same
  static_assert(kCodeRows == kWarpRows);

  int32_t in_features_;
  const T** rows_;  // in shared memory, of the entries that this thread copies a chunk of: every kXRows-th
  int num_rows_;
  int32_t k_;
  T* x_;
  const uint8_t* source_;
  int64_t source_stride_;
  int num_sources_;
  unsigned char* codes_;
};

// x of two tiles of 8 entries in a step: of a lane's entry its 16 columns.
struct XFragments {
  uint32_t words[2][8];
};

// `x` is this lane's first chunk of its row in the first tile, `swapped` its second.
template <typename T>
__device__ __forceinline__ void LoadX(const T* x, const T* swapped, int piece, XFragments& fragments) {
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
    const int offset = (piece * 2 + tile) * 8 * kScaleColumns;
    const uint4 first = *reinterpret_cast<const uint4*>(x + offset);
    const uint4 second = *reinterpret_cast<const uint4*>(swapped + offset);
    const uint32_t words[8] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) fragments.words[tile][i] = words[i];
  }
}

// A lane's columns of four rows in a step: rows g and g + 8 of both sets of 16, as the A operands of products 0 to 3.
struct WeightFragments {
  uint32_t a[2][4][4];
};

// `codes` is this lane's chunk of row g in the block of the step, `part` the step's place in the block.
template <typename Shape>
__device__ __forceinline__ void LoadWeights(const unsigned char* codes, int part, const uint32_t (&scales)[4],
                                            const typename Shape::Weights& dequantize, WeightFragments& fragments) {
  constexpr int kWordPairs = Shape::Weights::kWordPairs;
#pragma unroll
  for (int row = 0; row < 4; ++row) {  // set row / 2, half row % 2
    const uint32_t zero = dequantize.Zero(Shape::Scales::Zero(scales[row]));
    uint32_t words[Shape::kRowWords];
    const unsigned char* from = codes + row * 8 * kBlockBytes;
    if constexpr (Shape::kRowWords == 2) {
      const uint2 loaded = *reinterpret_cast<const uint2*>(from + part * sizeof(uint2));
      words[0] = loaded.x;
      words[1] = loaded.y;
    } else {
      const uint4 loaded = *reinterpret_cast<const uint4*>(from);
      words[0] = loaded.x;
      words[1] = loaded.y;
      words[2] = loaded.z;
      words[3] = loaded.w;
    }
#pragma unroll
    for (int w = 0; w < Shape::kRowWords; ++w) {
      uint32_t pairs[kWordPairs];
      dequantize(words[w], zero, pairs);
#pragma unroll
      for (int i = 0; i < kWordPairs; ++i) {
        const int pair = w * kWordPairs + i;
        fragments.a[row / 2][pair / 2][row % 2 + pair % 2 * 2] = pairs[i];
      }
    }
  }
}

// sums += scales * weights x, for 16 entries.
template <typename Shape>
__device__ __forceinline__ void MultiplyPiece(const WeightFragments& weights, const XFragments& x,
                                              const uint32_t (&scales)[4], int piece, Sums& sums) {
  float partial[2][2][4] = {};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
      for (int set = 0; set < 2; ++set) {
        MmaM16N8K16<typename Shape::T>(partial[set][tile], weights.a[set][j],
                                       {x.words[tile][2 * j], x.words[tile][2 * j + 1]});
      }
    }
  }
#pragma unroll
  for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
    for (int set = 0; set < 2; ++set) {
      float(&sum)[4] = sums[set][piece * 2 + tile];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sum[i] = fmaf(Shape::Scales::Scale(scales[set * 2 + i / 2]), partial[set][tile][i], sum[i]);
      }
    }
  }
}

// sums += scales * weights x, for all entries of a step or the first `num_entries`. Without branches in between, loads
// and sums of neighbouring pieces overlap.
template <typename Shape, bool kIsFull>
__device__ __forceinline__ void MultiplyStep(const WeightFragments& weights, const typename Shape::T* x,
                                             const typename Shape::T* swapped, const uint32_t (&scales)[4],
                                             int num_entries, Sums& sums) {
  XFragments fragments;
  LoadX(x, swapped, 0, fragments);
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    if (!kIsFull && piece * kPieceEntries >= num_entries) break;
    XFragments next;
    if (piece + 1 < kPieces) LoadX(x, swapped, piece + 1, next);
    MultiplyPiece<Shape>(weights, fragments, scales, piece, sums);
    fragments = next;
  }
}

// Scales of the four rows of each lane, step by step. Each of the four lanes that share them reads those of one row,
// two steps ahead, and decodes them one step ahead.
template <typename Shape>
class StepScales {
 public:
  __device__ StepScales(const Params& p, const Tile& tile, const QuantizedMatrix& matrix)
      : matrix_(matrix), shift_(p.scale_shift), last_group_(static_cast<int32_t>(matrix.groups) - 1) {
    const auto thread = static_cast<int>(threadIdx.x);
    const int row = thread / kWarpSize * kWarpRows + thread % 4 * 8 + thread % kWarpSize / 4;
    const int32_t feature = min(FeatureOf(p, tile, row), p.out_features - 1);
    reader_ = typename Shape::Scales(matrix, MatrixRow(p, feature, row));
    finished_ = reader_.Finish(matrix_, matrix_.dynamic_map, reader_.Load(matrix_, 0), 0);
    loaded_ = reader_.Load(matrix_, Group(1));
  }

  // Words of the scales in `step`; of steps 0, 1, .. one after the other.
  __device__ __forceinline__ void Next(int32_t step, uint32_t (&scales)[4]) {
#pragma unroll
    for (int row = 0; row < 4; ++row) scales[row] = __shfl_sync(kFullWarp, finished_, row, 4);
    finished_ = reader_.Finish(matrix_, matrix_.dynamic_map, loaded_, Group(step + 1));
    loaded_ = reader_.Load(matrix_, Group(step + 2));
  }

 private:
  __device__ __forceinline__ int32_t Group(int32_t step) const { return min(step >> shift_, last_group_); }

  const QuantizedMatrix& matrix_;
  const int32_t shift_;
  const int32_t last_group_;
  typename Shape::Scales reader_;
  uint32_t loaded_;
  uint32_t finished_;
};

template <typename Shape>
__device__ __forceinline__ void MultiplyTile(const Params& p, const Tile& tile, const QuantizedMatrix& matrix,
                                             unsigned char* shared, Sums& sums) {
  using T = typename Shape::T;
  constexpr int kXStages = Shape::kXStages;
  constexpr int kCodeStages = Shape::kCodeStages;
  const TileCopier<Shape> copier(p, tile, matrix, shared);
  __syncthreads();
  const int32_t num_steps = (p.in_features + kScaleColumns - 1) / kScaleColumns;
  const int32_t num_blocks = (num_steps + Shape::kBlockSteps - 1) / Shape::kBlockSteps;
#pragma unroll
  for (int block = 0; block < kCodeStages - 1; ++block) {
    if (block < num_blocks) copier.CopyCodes(block, block);
  }
#pragma unroll
  for (int step = 0; step < kXStages - 1; ++step) {
    if (step < num_steps) copier.CopyX(step, step);
    CpAsyncCommit();
  }
  Shape::Weights::Prepare(shared + Shape::kTable, p.nf4);
  const typename Shape::Weights dequantize(shared + Shape::kTable);
  StepScales<Shape> step_scales(p, tile, matrix);

  const auto thread = static_cast<int>(threadIdx.x);
  const int g = thread % kWarpSize / 4;
  const int t = thread % 4;
  const int x_offset = g * kScaleColumns + t * 16 + g % 2 * 8;
  const auto* x = reinterpret_cast<const T*>(shared);
  const unsigned char* codes =
      shared + Shape::kCodes + (thread / kWarpSize * kWarpRows + g) * kBlockBytes + t * kChunkBytes;
  int x_stage = 0;
  int code_stage = 0;
  for (int32_t step = 0; step < num_steps; ++step) {
    // This step's columns have arrived, and all have read those of the step before, whose place is filled next.
    CpAsyncWait<kXStages - 2>();
    __syncthreads();
    const int part = step % Shape::kBlockSteps;
    if (step + kXStages - 1 < num_steps) {
      copier.CopyX(step + kXStages - 1, x_stage == 0 ? kXStages - 1 : x_stage - 1);
    }
    const int32_t next_block = step / Shape::kBlockSteps + kCodeStages - 1;
    if (part == 0 && next_block < num_blocks) {
      copier.CopyCodes(next_block, code_stage == 0 ? kCodeStages - 1 : code_stage - 1);
    }
    CpAsyncCommit();

    uint32_t scales[4];
    step_scales.Next(step, scales);
    WeightFragments weights;
    LoadWeights<Shape>(codes + code_stage * kCodeStageBytes, part, scales, dequantize, weights);
    const T* step_x = x + x_stage * kXStageElements + x_offset;
    const T* swapped = x + x_stage * kXStageElements + (x_offset ^ 8);
    if (tile.num_entries > kTileEntries - kPieceEntries) {
      MultiplyStep<Shape, true>(weights, step_x, swapped, scales, kTileEntries, sums);
    } else {
      MultiplyStep<Shape, false>(weights, step_x, swapped, scales, tile.num_entries, sums);
    }
    x_stage = x_stage + 1 == kXStages ? 0 : x_stage + 1;
    if (part == Shape::kBlockSteps - 1) code_stage = code_stage + 1 == kCodeStages ? 0 : code_stage + 1;
  }
  CpAsyncWait<0>();
}

// Grid: [tiles of entries * tiles of the weights' rows].
template <typename Shape>
__global__ void __launch_bounds__(kThreads, 2) TiledKernel(const Params p) {
  WaitForPrevious();
  Tile tile;
  if (!FindTile(p, &tile)) return;
  unsigned char* shared = DynamicShared<unsigned char>();
  Sums sums = {};
  MultiplyTile<Shape>(p, tile, MatrixAt(p.weights, tile.place), shared, sums);
  LetNextStart();
  StoreTile<typename Shape::T>(p, tile, reinterpret_cast<float*>(shared), sums);
}

template <typename T, WeightFormat kFormat>
void LaunchFormat(const QuantizedGemmArgs& args, Stream stream) {
  using Shape = TiledShape<T, kFormat>;
  const ExpertPermutation& entries = args.permutation;
  const int64_t tiles =
      entries.offsets == nullptr ? (entries.num_pairs + kTileEntries - 1) / kTileEntries : entries.max_tiles();
  const int64_t tile_features = args.is_gate_up ? kTileRows / 2 : kTileRows;
  const int64_t blocks = tiles * ((args.out_features() + tile_features - 1) / tile_features);
  Launch(
      TiledKernel<Shape>,
      LaunchShape{.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kThreads), .shared_bytes = Shape::kBytes},
      stream, Params{QuantizedGemmParams(args, MakeNf4Halves<T>()), args.is_gate_up});
}

}  // namespace
}  // namespace quantized_tile

void LaunchQuantizedGemmTiled(const QuantizedGemmArgs& args, Stream stream) {
  DispatchQuantizedGemm(
      args, [&]<typename T, WeightFormat kFormat>() { quantized_tile::LaunchFormat<T, kFormat>(args, stream); });
}

}  // namespace switchyard::cuda
