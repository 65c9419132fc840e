// Products of matrix fragments on the tensor cores, and loading fragments from shared memory. Device side: PTX for
// sm_80 and later. Host side: the same meaning for the emulation of tests/emulation, where the lanes of a warp are
// fibers: a warp collective gathers the operands of all 32 lanes and computes once; an mma sums its products in float32
// in another order than the tensor cores do, whose order is not specified. Source of fragment layouts: NVIDIA, Parallel
// Thread Execution ISA 8.x, sections on mma.m16n8k16 and ldmatrix.
#pragma once

#include <cstdint>

#include "kernels/cuda/half.cuh"
#include "kernels/cuda/shared_place.cuh"

#ifndef __CUDACC__
#include <cstring>

#include "tests/emulation/warp.h"
#endif

namespace switchyard::cuda {

#ifndef __CUDACC__
struct MmaLane {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

// Registers hold pairs of neighbours in k: a pair stays together until all are converted.
template <typename T>
SWITCHYARD_EMULATION_HOT void EmulateMma(void* const* lanes, uint32_t) {
  uint32_t a_pairs[16][8];
  uint32_t b_pairs[8][8];
  float d[16][8];
  for (int i = 0; i < 32; ++i) {
    const MmaLane& from = *static_cast<const MmaLane*>(lanes[i]);
    const int g = i / 4;
    const int t = i % 4;
    for (int r = 0; r < 4; ++r) a_pairs[g + r % 2 * 8][t + r / 2 * 4] = from.a[r];
    for (int r = 0; r < 2; ++r) b_pairs[t + r * 4][g] = from.b[r];
    for (int r = 0; r < 4; ++r) d[g + r / 2 * 8][2 * t + r % 2] = from.d[r];
  }
  float a_lo[16][8];
  float a_hi[16][8];
  float b_lo[8][8];
  float b_hi[8][8];
  emulation::UnpackHalves(std::is_same_v<T, BFloat16>, &a_pairs[0][0], 128, &a_lo[0][0], &a_hi[0][0]);
  emulation::UnpackHalves(std::is_same_v<T, BFloat16>, &b_pairs[0][0], 64, &b_lo[0][0], &b_hi[0][0]);
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 8; ++k) {
      for (int column = 0; column < 8; ++column) {
        d[row][column] += a_lo[row][k] * b_lo[k][column] + a_hi[row][k] * b_hi[k][column];
      }
    }
  }
  for (int i = 0; i < 32; ++i) {
    const MmaLane& to = *static_cast<const MmaLane*>(lanes[i]);
    for (int r = 0; r < 4; ++r) to.d[r] = d[i / 4 + r / 2 * 8][i % 4 * 2 + r % 2];
  }
}
#endif

// d += a b for a [16, 16], b [16, 8], d [16, 8], all lanes of a warp together. With g = lane / 4 and t = lane % 4, a
// lane holds
//   d[0..1]: row g, columns 2t, 2t + 1       d[2..3]: row g + 8, the same columns
//   a[0]: row g, columns 2t, 2t + 1          a[1]: row g + 8         a[2], a[3]: the same rows, columns 2t + 8, 2t + 9
//   b[0]: rows 2t, 2t + 1 of column g        b[1]: rows 2t + 8, 2t + 9
template <typename T>
__device__ __forceinline__ void MmaM16N8K16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  static_assert(kIsHalf<T>);
#ifdef __CUDACC__
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#else
  MmaLane lane{d, a, b};
  emulation::WarpCollective(emulation::kAllLanes, "mma", &lane, &EmulateMma<T>);
#endif
}

#ifndef __CUDACC__
struct LdMatrixLane {
  uint32_t* r;
  const void* row;
};

// Lane 8 m + i gives row i of matrix m. Lane l receives in r[m] the elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4
// of matrix m, or of its column l / 4 if transposed.
template <int kMatrices, bool kTransposed>
void EmulateLdMatrix(void* const* lanes, uint32_t) {
  for (int m = 0; m < kMatrices; ++m) {
    uint16_t matrix[8][8];
    for (int i = 0; i < 8; ++i) {
      const void* row = static_cast<const LdMatrixLane*>(lanes[8 * m + i])->row;
      emulation::CheckAligned16(row, "ldmatrix");
      std::memcpy(matrix[i], row, sizeof(matrix[i]));
    }
    for (int l = 0; l < 32; ++l) {
      const int major = l / 4;
      const int minor = l % 4 * 2;
      const uint32_t lo = kTransposed ? matrix[minor][major] : matrix[major][minor];
      const uint32_t hi = kTransposed ? matrix[minor + 1][major] : matrix[major][minor + 1];
      static_cast<const LdMatrixLane*>(lanes[l])->r[m] = lo | hi << 16;
    }
  }
}

template <int kMatrices, bool kTransposed>
void LdMatrixTogether(uint32_t* r, const void* shared_row) {
  LdMatrixLane lane{r, shared_row};
  emulation::WarpCollective(emulation::kAllLanes, "ldmatrix", &lane, &EmulateLdMatrix<kMatrices, kTransposed>);
}
#endif

// Four 8x8 matrices of 16-bit elements from shared memory; lane i gives the address (aligned to 16 bytes) of row i % 8
// of matrix i / 8 and receives of matrix m, in r[m], elements 2 (i % 4) and 2 (i % 4) + 1 of row i / 4.
__device__ __forceinline__ void LdMatrixX4(uint32_t (&r)[4], const void* shared_row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(shared_row))
               : "memory");
#else
  LdMatrixTogether<4, false>(r, shared_row);
#endif
}

// The same with each matrix transposed: lane i receives elements 2 (i % 4) and 2 (i % 4) + 1 of column i / 4.
__device__ __forceinline__ void LdMatrixX4Trans(uint32_t (&r)[4], const void* shared_row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(shared_row))
               : "memory");
#else
  LdMatrixTogether<4, true>(r, shared_row);
#endif
}

// Two matrices; the addresses of lanes 16 to 31 are not used.
__device__ __forceinline__ void LdMatrixX2(uint32_t (&r)[2], const void* shared_row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(SharedAddress(shared_row))
               : "memory");
#else
  LdMatrixTogether<2, false>(r, shared_row);
#endif
}

__device__ __forceinline__ void LdMatrixX2Trans(uint32_t (&r)[2], const void* shared_row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(SharedAddress(shared_row))
               : "memory");
#else
  LdMatrixTogether<2, true>(r, shared_row);
#endif
}

}  // namespace switchyard::cuda
