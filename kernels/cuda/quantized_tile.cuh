// A tile of the products of quantized_gemm_tiled.cu: which one a block computes, and how its sums become results.
#pragma once

#include <cstdint>

#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/expert_gemm.cuh"
#include "kernels/cuda/quantized_gemm.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace switchyard::cuda::quantized_tile {

inline constexpr int kTileEntries = static_cast<int>(kExpertTileRows);
inline constexpr int kTileRows = 128;
inline constexpr int kWarpRows = 32;
inline constexpr int kThreads = kTileRows / kWarpRows * kWarpSize;
inline constexpr int kGroupTiles = 16;
// Of an entry's results in shared memory, in floats; 4 more keep stores free of bank conflicts.
inline constexpr int kSumStride = kTileRows + 4;
static_assert(kThreads == kTileEntries);

struct Params : QuantizedGemmParams {
  bool is_gate_up;
};

struct Tile {
  int32_t expert;
  int32_t place;  // of its weights
  int32_t first_entry;
  int32_t num_entries;
  int32_t first_feature;
};

__device__ __forceinline__ int32_t TileFeatures(const Params& p) { return p.is_gate_up ? kTileRows / 2 : kTileRows; }

// False: no such tile. Blocks are ordered as in expert_gemm_tiled.cu, so that those at work together share tiles in L2.
__device__ __forceinline__ bool FindTile(const Params& p, Tile* tile) {
  const int32_t num_columns = (p.out_features + TileFeatures(p) - 1) / TileFeatures(p);
  const auto block = static_cast<int32_t>(blockIdx.x);
  const bool is_grouped = p.offsets != nullptr;
  tile->expert = is_grouped ? p.tile_expert[block / num_columns] : 0;
  if (tile->expert < 0) return false;
  tile->place = PlaceOf(p.expert_place, tile->expert);
  if (tile->place < 0) return false;
  const int32_t begin_tile = is_grouped ? p.tile_begin[tile->expert] : 0;
  const int32_t num_tiles =
      is_grouped ? p.tile_begin[tile->expert + 1] - begin_tile : (p.num_entries + kTileEntries - 1) / kTileEntries;
  const int32_t begin = is_grouped ? p.offsets[tile->expert] : 0;
  const int32_t end = is_grouped ? p.offsets[tile->expert + 1] : p.num_entries;
  const int32_t in_expert = block - begin_tile * num_columns;
  const int32_t group_begin = in_expert / (kGroupTiles * num_columns) * kGroupTiles;
  const int32_t group_tiles = min(kGroupTiles, num_tiles - group_begin);
  const int32_t in_group = in_expert - group_begin * num_columns;
  tile->first_entry = begin + (group_begin + in_group % group_tiles) * kTileEntries;
  tile->num_entries = min(kTileEntries, end - tile->first_entry);
  tile->first_feature = in_group / group_tiles * TileFeatures(p);
  return true;
}

// The feature of y that row `row` of the tile is of, and the row of the matrix that lies there.
__device__ __forceinline__ int32_t FeatureOf(const Params& p, const Tile& tile, int row) {
  return tile.first_feature + (p.is_gate_up ? row / kWarpRows * 16 + row % 16 : row);
}
__device__ __forceinline__ int32_t MatrixRow(const Params& p, int32_t feature, int row) {
  return feature + (p.is_gate_up && row % kWarpRows >= 16 ? p.out_features : 0);
}

// Of a warp: sets of 16 rows, tiles of 8 entries; in the gate-up product the second set is of W3.
using Sums = float[2][kTileEntries / 8][4];

// Eight results of one entry.
template <typename T>
__device__ __forceinline__ void StoreResults(const Params& p, int64_t at, const float (&y)[8]) {
  if (p.has_float_y) {
    Store8(static_cast<float*>(p.y) + at, y);
  } else {
    Store8(static_cast<T*>(p.y) + at, y);
  }
}

// Writes y of the tile, through `shared` [kTileEntries, kSumStride], so that whole rows are written. Begins with a
// barrier.
template <typename T>
__device__ __forceinline__ void StoreTile(const Params& p, const Tile& tile, float* shared, const Sums& sums) {
  const auto thread = static_cast<int>(threadIdx.x);
  const int g = thread % kWarpSize / 4;
  const int t = thread % 4;
  const int warp_features = TileFeatures(p) / (kTileRows / kWarpRows);
  __syncthreads();  // all have read what lay there
#pragma unroll
  for (int entries = 0; entries < kTileEntries / 8; ++entries) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* to =
          shared + (entries * 8 + 2 * t + i % 2) * kSumStride + thread / kWarpSize * warp_features + i / 2 * 8 + g;
      if (p.is_gate_up) {
        *to = SiluMultiply(sums[0][entries][i], sums[1][entries][i]);
      } else {
        to[0] = sums[0][entries][i];
        to[16] = sums[1][entries][i];
      }
    }
  }
  __syncthreads();
  const int vectors = TileFeatures(p) / 8;  // of an entry
  const bool has_whole_vectors = p.y_place == nullptr && p.out_features % 8 == 0;
  for (int i = thread; i < tile.num_entries * vectors; i += kThreads) {
    const int32_t entry = tile.first_entry + i / vectors;
    const int32_t feature = tile.first_feature + i % vectors * 8;
    if (feature >= p.out_features) continue;
    const float weight = p.entry_weight == nullptr ? 1.0f : p.entry_weight[entry];
    float y[8];
    Load8(shared + i / vectors * kSumStride + i % vectors * 8, y);
#pragma unroll
    for (float& value : y) value *= weight;
    const int64_t row = int64_t{entry} * p.out_features;
    if (has_whole_vectors) {
      StoreResults<T>(p, row + feature, y);
      continue;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int32_t of_y = feature + j;
      if (of_y >= p.out_features) break;
      StoreResult<T>(p, tile.place, entry, of_y, y[j]);
    }
  }
}

}  // namespace switchyard::cuda::quantized_tile
