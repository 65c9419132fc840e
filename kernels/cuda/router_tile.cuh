// Logits of a tile of tokens on the tensor cores: the inner part of the router.
//
// The block's warps divide the hidden dimension, and the block adds their sums in shared memory. Operands go from
// global memory to registers without a detour: the order of the products of a sum is free, so the lane that an mma
// expects to hold elements {2t, 2t + 1, 2t + 8, 2t + 9} of 16 is given instead eight consecutive elements of 32, one
// 16-byte load, in both operands alike; they serve two mma.
#pragma once

#include <cstdint>

#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace switchyard::cuda {

inline constexpr int kMmaTokens = 16;
inline constexpr int kMmaExperts = 8;
inline constexpr int kPiece = 32;  // elements of a row that 4 lanes load at once

// The tile of one kernel: kTokenTiles * 16 tokens, kExpertTiles * 8 experts a group.
template <int kTokenTiles, int kExpertTiles>
struct Tile {
  static constexpr int kTokens = kTokenTiles * kMmaTokens;
  static constexpr int kExperts = kExpertTiles * kMmaExperts;
  // What keeps enough loads under way without spilling.
  static constexpr int kWarps = kTokenTiles * kExpertTiles >= 8 ? 8 : 16;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kUnroll = kTokenTiles * kExpertTiles == 1 ? 4 : kTokenTiles * kExpertTiles >= 8 ? 1 : 2;
  // Shared memory: the warps' sums [warps][tokens][experts of the group], then logits [tokens][num_experts].
  static constexpr int kPartialFloats = kWarps * kTokens * kExperts;
};

// Eight elements of a row of `size`; zeros from its end on, where kChecked.
template <bool kChecked, typename T>
__device__ __forceinline__ uint4 LoadPiece(const T* __restrict__ row, int element, int size) {
  if (kChecked && element >= size) return make_uint4(0, 0, 0, 0);
  return *reinterpret_cast<const uint4*>(row + element);
}

// Adds the products of kUnroll pieces from `element` on to `sums`; a_rows and b_rows are this lane's rows.
template <bool kChecked, typename T, int kTokenTiles, int kExpertTiles>
__device__ __forceinline__ void MultiplyPieces(const T* const (&a_rows)[2 * kTokenTiles],
                                               const T* const (&b_rows)[kExpertTiles], int element, int hidden_size,
                                               float (&sums)[kTokenTiles][kExpertTiles][4]) {
  constexpr int kUnroll = Tile<kTokenTiles, kExpertTiles>::kUnroll;
  uint4 a[kUnroll][2 * kTokenTiles];
  uint4 b[kUnroll][kExpertTiles];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
    for (int n = 0; n < kExpertTiles; ++n) {
      b[u][n] = LoadPiece<kChecked>(b_rows[n], element + u * kPiece, hidden_size);
    }
#pragma unroll
    for (int m = 0; m < 2 * kTokenTiles; ++m) {
      a[u][m] = LoadPiece<kChecked>(a_rows[m], element + u * kPiece, hidden_size);
    }
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
    for (int m = 0; m < kTokenTiles; ++m) {
      const uint4 low = a[u][2 * m];
      const uint4 high = a[u][2 * m + 1];
#pragma unroll
      for (int n = 0; n < kExpertTiles; ++n) {
        MmaM16N8K16<T>(sums[m][n], {low.x, high.x, low.y, high.y}, {b[u][n].x, b[u][n].y});
        MmaM16N8K16<T>(sums[m][n], {low.z, high.z, low.w, high.w}, {b[u][n].z, b[u][n].w});
      }
    }
  }
}

// Adds this warp's share of the products of the tile's rows of x and W to `sums`, in the layout of MmaM16N8K16. Of
// either, rows from num_rows and num_experts on (both at least 1) are not read; their sums have no meaning.
template <typename T, int kTokenTiles, int kExpertTiles>
__device__ __forceinline__ void MultiplyShare(const T* __restrict__ x, const T* __restrict__ w, int num_rows,
                                              int num_experts, int hidden_size,
                                              float (&sums)[kTokenTiles][kExpertTiles][4]) {
  using Shape = Tile<kTokenTiles, kExpertTiles>;
  constexpr int kStep = kPiece * Shape::kUnroll;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  // Missing rows are replaced by row 0: loads without conditions stay under way together.
  const T* a_rows[2 * kTokenTiles];
#pragma unroll
  for (int m = 0; m < 2 * kTokenTiles; ++m) {
    const int row = m * 8 + lane / 4;
    a_rows[m] = x + (row < num_rows ? row : 0) * hidden_size;
  }
  const T* b_rows[kExpertTiles];
#pragma unroll
  for (int n = 0; n < kExpertTiles; ++n) {
    const int expert = n * kMmaExperts + lane / 4;
    b_rows[n] = w + (expert < num_experts ? expert : 0) * hidden_size;
  }
  for (int base = warp * kStep; base < hidden_size; base += Shape::kWarps * kStep) {
    const int element = base + lane % 4 * kVectorElements;
    if (base + kStep <= hidden_size) {
      MultiplyPieces<false, T>(a_rows, b_rows, element, hidden_size, sums);
    } else {
      MultiplyPieces<true, T>(a_rows, b_rows, element, hidden_size, sums);
    }
  }
}

// Adds the warps' sums and leaves those of real rows and experts in logits [tokens][num_experts] from `first_expert`.
template <int kTokenTiles, int kExpertTiles>
__device__ __forceinline__ void AddWarps(const float (&sums)[kTokenTiles][kExpertTiles][4], int num_rows,
                                         int first_expert, int num_experts, float* partials, float* logits) {
  using Shape = Tile<kTokenTiles, kExpertTiles>;
  constexpr int kCells = Shape::kTokens * Shape::kExperts;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  float* mine = partials + static_cast<int>(threadIdx.x) / kWarpSize * kCells;
#pragma unroll
  for (int m = 0; m < kTokenTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kExpertTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = m * kMmaTokens + lane / 4 + i / 2 * 8;
        mine[row * Shape::kExperts + n * kMmaExperts + lane % 4 * 2 + i % 2] = sums[m][n][i];
      }
    }
  }
  __syncthreads();
  for (int cell = static_cast<int>(threadIdx.x); cell < num_rows * Shape::kExperts; cell += Shape::kThreads) {
    const int expert = first_expert + cell % Shape::kExperts;
    if (expert >= num_experts) continue;
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < Shape::kWarps; ++w) sum += partials[w * kCells + cell];
    logits[cell / Shape::kExperts * num_experts + expert] = sum;
  }
  __syncthreads();
}

}  // namespace switchyard::cuda
