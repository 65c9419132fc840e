// Keys and values of 8 bits in the tiles of paged attention, widened to a 16-bit type in registers.
//
// A register that ldmatrix fills holds four elements. Bit operations on it yield elements 0 and 2 as one pair, 1 and 3
// as another, so products take them in that order:
//   keys    dimensions 4t, 4t + 2, 4t + 1, 4t + 3 of 16 are columns 2t, 2t + 1, 2t + 8, 2t + 9 of the left operand,
//   where
//           InterleaveQueries brings the queries' dimensions too.
//   values  of 16 dimensions the even ones are one tile of eight columns, the odd ones the next: OutPair (see there)
//           names the dimensions of sums.
// A row's scale meets its scores, or weights, in float32.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/bits.cuh"
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/half.cuh"
#include "kernels/float8.h"

namespace switchyard::cuda {

// What widened elements are to be multiplied with, beside their row's scale. In float16 they are small numbers, because
// weights times scales have to be large ones: float16 has no room for both factors of what is typically near 1.
template <typename T, typename Element>
inline constexpr float kKvUnit = 1.0f;
template <>
inline constexpr float kKvUnit<Float16, Float8E4M3> = 256.0f;
template <>
inline constexpr float kKvUnit<Float16, int8_t> = 128.0f;

// pairs[0]: elements 0 and 2 of `word` as two of T, pairs[1]: elements 1 and 3; exact.
template <typename T, typename Element>
__device__ __forceinline__ void WidenFour(uint32_t word, uint32_t (&pairs)[2]) {
  constexpr bool kIsBFloat16 = std::is_same_v<T, BFloat16>;
  if constexpr (std::is_same_v<Element, Float8E4M3>) {
    // Exponent and mantissa in the places of T's, subnormals included: too small by 2^120 or 2^8.
    constexpr int kShift = kIsBFloat16 ? 4 : 1;
    constexpr uint32_t kMagnitude = 0x7F007F00u >> kShift;
    pairs[0] = (word << 8 & 0x80008000u) | (word << (8 - kShift) & kMagnitude);
    pairs[1] = (word & 0x80008000u) | (word >> kShift & kMagnitude);
    if constexpr (kIsBFloat16) {
      constexpr uint32_t kTwoTo120 = 0x7B807B80u;
      pairs[0] = Fma2<T>(pairs[0], kTwoTo120, 0x80008000u);
      pairs[1] = Fma2<T>(pairs[1], kTwoTo120, 0x80008000u);
    }
  } else if constexpr (kIsBFloat16) {
    static_assert(std::is_same_v<Element, int8_t>);
    // 128 plus the low 7 bits, minus 128, or minus 256 where the sign is set.
    constexpr uint32_t k128 = 0x43004300u;
    constexpr uint32_t kMinusOne = 0xBF80BF80u;
    pairs[0] = Fma2<T>((word & 0x00800080u) | k128, kMinusOne, (word & 0x007F007Fu) | k128);
    word >>= 8;
    pairs[1] = Fma2<T>((word & 0x00800080u) | k128, kMinusOne, (word & 0x007F007Fu) | k128);
  } else {
    static_assert(std::is_same_v<Element, int8_t>);
    // 1024 plus the element plus 128, divided by 128, minus 9.
    constexpr uint32_t k1024 = 0x64006400u;
    constexpr uint32_t kTwoToMinus7 = 0x20002000u;
    constexpr uint32_t kMinusNine = 0xC880C880u;
    word ^= 0x80808080u;
    pairs[0] = Fma2<T>((word & 0x00FF00FFu) | k1024, kTwoToMinus7, kMinusNine);
    pairs[1] = Fma2<T>((word >> 8 & 0x00FF00FFu) | k1024, kTwoToMinus7, kMinusNine);
  }
}

// Brings the dimensions of a tile of queries into the order of the file's comment. A warp calls it for its own rows;
// barriers before and after are the caller's.
template <int kRows, int kDim, typename T>
__device__ __forceinline__ void InterleaveQueries(T* queries) {
  constexpr int kPairs = kDim / 16;
  for (int i = static_cast<int>(threadIdx.x) % kWarpSize; i < kRows * kPairs; i += kWarpSize) {
    auto* first = reinterpret_cast<uint4*>(queries + TileOffset<kDim>(i / kPairs, i % kPairs, 0));
    auto* second = reinterpret_cast<uint4*>(queries + TileOffset<kDim>(i / kPairs, i % kPairs, 1));
    const uint4 a = *first;
    const uint4 b = *second;
    constexpr uint32_t kLowHalves = 0x5410;
    constexpr uint32_t kHighHalves = 0x7632;
    *first = make_uint4(PermuteBytes(a.x, a.y, kLowHalves), PermuteBytes(a.z, a.w, kLowHalves),
                        PermuteBytes(b.x, b.y, kLowHalves), PermuteBytes(b.z, b.w, kLowHalves));
    *second = make_uint4(PermuteBytes(a.x, a.y, kHighHalves), PermuteBytes(a.z, a.w, kHighHalves),
                         PermuteBytes(b.x, b.y, kHighHalves), PermuteBytes(b.z, b.w, kHighHalves));
  }
}

// MultiplyKeys of attention_tile.cuh; scores lack the keys' scales. kKeys is a multiple of 32.
template <int kTiles, int kKeys, int kDim, typename T, typename Element>
__device__ __forceinline__ void MultiplyByteKeys(const T* queries, const Element* keys,
                                                 float (&scores)[kTiles][kKeys / 8][4]) {
  static_assert(sizeof(Element) == 1 && kKeys % 32 == 0);
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
    for (int n = 0; n < kKeys / 32; ++n) {
      uint32_t words[4];  // 16 dimensions of eight keys each
      LdMatrixX4(words, keys + ByteTileOffset<kDim>(n * 32 + lane, k));
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        uint32_t b[2];
        WidenFour<T, Element>(words[m], b);
#pragma unroll
        for (int i = 0; i < kTiles; ++i) MmaM16N8K16<T>(scores[i][4 * n + m], a[i], b);
      }
    }
  }
}

// OnlineSoftmax::AddValues; the weights hold the values' scales.
template <int kKeys, int kTiles, int kDim, typename T, typename Element>
__device__ __forceinline__ void AddByteValues(const uint32_t (&weights)[kTiles][kKeys / 16][4], const Element* values,
                                              float (&out)[kTiles][kDim / 8][4]) {
  static_assert(sizeof(Element) == 1);
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
    for (int n = 0; n < kDim / 32; ++n) {
      uint32_t words[4];  // keys 0 to 7 of 16 dimensions, then keys 8 to 15; then of the next 16 dimensions
      LdMatrixX4Trans(words, values + ByteTileOffset<kDim>(k * 16 + lane % 16, 2 * n + lane / 16));
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        uint32_t low[2];
        uint32_t high[2];
        WidenFour<T, Element>(words[2 * m], low);
        WidenFour<T, Element>(words[2 * m + 1], high);
        const uint32_t even[2] = {low[0], high[0]};
        const uint32_t odd[2] = {low[1], high[1]};
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          MmaM16N8K16<T>(out[i][4 * n + 2 * m], weights[i][k], even);
          MmaM16N8K16<T>(out[i][4 * n + 2 * m + 1], weights[i][k], odd);
        }
      }
    }
  }
}

// The scales of a row of keys and a row of values, in kKvUnit; 0 for row < 0.
template <typename T, typename Element>
__device__ __forceinline__ float2 LoadScales(const float* k_scales, const float* v_scales, int row) {
  if (row < 0) return make_float2(0.0f, 0.0f);
  return make_float2(k_scales[row] * kKvUnit<T, Element>, v_scales[row] * kKvUnit<T, Element>);
}

}  // namespace switchyard::cuda
