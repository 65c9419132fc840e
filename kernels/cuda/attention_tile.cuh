// What both forms of paged attention do with tiles in shared memory and fragments in registers.
//
// A tile holds rows of kDim elements of a 16-bit type (kDim: 64, 128 or 256, head_dim padded with zeros) in chunks of
// 16 bytes. Chunk c of row r lies at place c ^ (r % 8), so that the eight rows of one ldmatrix matrix lie in different
// banks. Tiles of 8-bit elements are alike (kv_elements.cuh has what is peculiar to them).
//
// A warp owns kTiles * 16 rows of queries. With g = lane / 4 and t = lane % 4 a lane holds of every m16n8k16 result
// rows g and g + 8, columns 2t and 2t + 1; "row r" of a lane below means row g + 8 r.
#pragma once

#include <cstdint>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/bits.cuh"
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/half.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {

inline constexpr int kChunkElements = 8;  // 16 bytes
inline constexpr float kLog2E = 1.44269504f;

__device__ __forceinline__ float MinusInfinity() { return __uint_as_float(0xFF800000u); }

// Of the first element of a chunk, in elements.
template <int kDim>
__device__ __forceinline__ int TileOffset(int row, int chunk) {
  return row * kDim + (chunk ^ (row & 7)) * kChunkElements;
}
// The same of chunk 2 * pair + half. What depends on the lane, half and row, comes together first: unrolled over pairs,
// few registers hold it.
template <int kDim>
__device__ __forceinline__ int TileOffset(int row, int pair, int half) {
  return row * kDim + ((2 * pair) ^ (half ^ (row & 7))) * kChunkElements;
}

// Of the first element of a chunk of 16, in a tile of 8-bit elements. Two rows of 64 share the banks of one of 128.
template <int kDim>
__device__ __forceinline__ int ByteTileOffset(int row, int chunk) {
  return row * kDim + (chunk ^ (kDim == 64 ? row >> 1 & 3 : row & 7)) * 16;
}

// Finds rows of keys and values of one sequence and one kv head in the pages.
struct PagedRows {
  const int32_t* pages;  // of the sequence
  int page_size;
  int num_kv_heads;
  int kv_head;

  __device__ __forceinline__ int PageOf(int position) const {
    // Few sizes are no power of 2, and a division is on the way to the first key.
    const auto size = static_cast<unsigned>(page_size);
    if ((size & (size - 1)) == 0) return position >> (__ffs(page_size) - 1);
    return static_cast<int>(static_cast<unsigned>(position) / size);
  }
  // Row of head_dim elements at `offset` in `page` of the pool.
  __device__ __forceinline__ int RowIn(int page, int offset) const {
    return (page * num_kv_heads + kv_head) * page_size + offset;
  }
  // The same for a position; negative where the position is not below `end`.
  __device__ __forceinline__ int At(int position, int end) const {
    if (position >= end) return -1;
    const int page_idx = PageOf(position);
    return RowIn(pages[page_idx], position - page_idx * page_size);
  }
};

// Starts to copy kRows (at most 32, a multiple of 8) rows of `source` to a tile; lane i < kRows of the warp names the
// source of row i, negative for a row of zeros. Elements from head_dim on become zero; a chunk lies within it or
// beyond.
template <int kRows, int kDim, typename T>
__device__ __forceinline__ void CopyRowsAsync(const T* source, int lane_row, int head_dim, T* tile) {
  constexpr int kRowChunkElements = 16 / sizeof(T);
  constexpr int kChunks = kDim / kRowChunkElements;
  constexpr int kRowsAtOnce = kWarpSize / kChunks;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int chunk = lane % kChunks;  // of every row
  const bool has_chunk = chunk * kRowChunkElements < head_dim;
  const auto row_bytes = static_cast<uint32_t>(head_dim * static_cast<int>(sizeof(T)));
  const auto* lane_source = reinterpret_cast<const unsigned char*>(source) + chunk * 16;
#pragma unroll 4  // more would cost the registers that hold sums
  for (int i = 0; i < kRows / kRowsAtOnce; ++i) {
    const int row = i * kRowsAtOnce + lane / kChunks;
    const int source_row = __shfl_sync(kFullWarp, lane_row, row);
    const uint64_t offset = uint64_t{static_cast<uint32_t>(max(source_row, 0))} * row_bytes;
    const int place = sizeof(T) == 1 ? ByteTileOffset<kDim>(row, chunk) : TileOffset<kDim>(row, chunk);
    CpAsync16(tile + place, lane_source + offset, has_chunk && source_row >= 0);
  }
}

// scores[i] = queries of row tile i times keys, not scaled. `queries` and `keys` are tiles.
template <int kTiles, int kKeys, int kDim, typename T>
__device__ __forceinline__ void MultiplyKeys(const T* queries, const T* keys, float (&scores)[kTiles][kKeys / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) scores[i][n][0] = scores[i][n][1] = scores[i][n][2] = scores[i][n][3] = 0.0f;
  }
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    uint32_t a[kTiles][4];
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      LdMatrixX4(a[i], queries + TileOffset<kDim>(i * 16 + lane % 16, k, lane / 16));
    }
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      uint32_t b[4];  // 16 dimensions of keys 16n .. 16n + 7, then of the next eight
      LdMatrixX4(b, keys + TileOffset<kDim>(n * 16 + lane / 16 * 8 + lane % 8, k, lane / 8 % 2));
      const uint32_t first[2] = {b[0], b[1]};
      const uint32_t second[2] = {b[2], b[3]};
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        MmaM16N8K16<T>(scores[i][2 * n], a[i], first);
        MmaM16N8K16<T>(scores[i][2 * n + 1], a[i], second);
      }
    }
  }
}

// Weights go into the product with the values as they are.
struct PlainWeights {
  __device__ __forceinline__ float operator()(float weight, int /*n*/, int /*c*/) const { return weight; }
};

// Queries' running softmax over the keys so far.
template <int kTiles, int kDim>
struct OnlineSoftmax {
  float max[kTiles][2];  // of row r, not scaled
  float sum[kTiles][2];  // of the weights in this lane's columns
  float out[kTiles][kDim / 8][4];

  __device__ __forceinline__ void Reset() {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      max[i][0] = max[i][1] = MinusInfinity();
      sum[i][0] = sum[i][1] = 0.0f;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) out[i][n][0] = out[i][n][1] = out[i][n][2] = out[i][n][3] = 0.0f;
    }
  }

  // Turns the scores of kKeys more keys (-infinity: not visible) into weights, as left operands of the product with
  // the values, and brings what was summed before to the new maximum. scale_log2: the scale times log2(e). The operand
  // is weigh(weight, n, c) for the keys of tile n, column 2t + c.
  template <int kKeys, typename T, typename Weigh = PlainWeights>
  __device__ __forceinline__ void Update(float (&scores)[kTiles][kKeys / 8][4], float scale_log2,
                                         uint32_t (&weights)[kTiles][kKeys / 16][4], const Weigh& weigh = {}) {
    float correction[kTiles][2];
    bool maximum_moved = false;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float largest = max[i][r];
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          largest = fmaxf(largest, fmaxf(scores[i][n][2 * r], scores[i][n][2 * r + 1]));
        }
        largest = fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, 2));
        // A row that has not seen a key yet keeps weights of 0 instead of infinity minus infinity.
        const float base = largest == MinusInfinity() ? 0.0f : largest * scale_log2;
        correction[i][r] = Exp2(max[i][r] * scale_log2 - base);
        maximum_moved |= max[i][r] != largest;
        max[i][r] = largest;
        sum[i][r] *= correction[i][r];
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          float(&score)[4] = scores[i][n];
          score[2 * r] = Exp2(score[2 * r] * scale_log2 - base);
          score[2 * r + 1] = Exp2(score[2 * r + 1] * scale_log2 - base);
          sum[i][r] += score[2 * r] + score[2 * r + 1];
        }
      }
#pragma unroll
      for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
        for (int w = 0; w < 4; ++w) {
          const int n = 2 * k + w / 2;
          const float* pair = scores[i][n] + w % 2 * 2;
          weights[i][k][w] = Pack2<T>(weigh(pair[0], n, 0), weigh(pair[1], n, 1));
        }
      }
    }
    if (!__any_sync(kFullWarp, maximum_moved)) return;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) out[i][n][c] *= correction[i][c / 2];
      }
    }
  }

  // out += weights times a tile of values.
  template <int kKeys, typename T>
  __device__ __forceinline__ void AddValues(const uint32_t (&weights)[kTiles][kKeys / 16][4], const T* values) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
      for (int n = 0; n < kDim / 16; ++n) {
        uint32_t b[4];  // 16 keys of dimensions 16n .. 16n + 7, then of the next eight
        LdMatrixX4Trans(b, values + TileOffset<kDim>(k * 16 + lane % 16, n, lane / 16));
        const uint32_t first[2] = {b[0], b[1]};
        const uint32_t second[2] = {b[2], b[3]};
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          MmaM16N8K16<T>(out[i][2 * n], weights[i][k], first);
          MmaM16N8K16<T>(out[i][2 * n + 1], weights[i][k], second);
        }
      }
    }
  }

  // Sums of row r in two neighbouring dimensions, the first of which is dim; n < kDim / 8. `kPairwise`: after
  // AddByteValues.
  struct Pair {
    int dim;
    float x;
    float y;
  };
  template <bool kPairwise>
  __device__ __forceinline__ Pair OutPair(int i, int n, int r) const {
    const int t = static_cast<int>(threadIdx.x) % 4;
    if constexpr (kPairwise) {
      const int even = n - n % 2;
      const int c = 2 * r + n % 2;
      return {even * 8 + 4 * t + n % 2 * 2, out[i][even][c], out[i][even + 1][c]};
    } else {
      return {n * 8 + 2 * t, out[i][n][2 * r], out[i][n][2 * r + 1]};
    }
  }

  // Gives every lane the sums over all columns.
  __device__ __forceinline__ void FinishSums() {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        sum[i][r] += __shfl_xor_sync(kFullWarp, sum[i][r], 1);
        sum[i][r] += __shfl_xor_sync(kFullWarp, sum[i][r], 2);
      }
    }
  }
};

}  // namespace switchyard::cuda
