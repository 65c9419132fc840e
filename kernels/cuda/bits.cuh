// Single instructions that C++ has no name for. Device side: PTX. Host side: the same for the emulation.
// Source: NVIDIA, Parallel Thread Execution ISA 8.x, sections on lop3, prmt and ex2.
#pragma once

#include <cstdint>

#ifndef __CUDACC__
#include <cmath>
#endif

namespace switchyard::cuda {

// (value & mask) | bits in one instruction, where the compiler makes two of two constants.
__device__ __forceinline__ uint32_t AndOr(uint32_t value, uint32_t mask, uint32_t bits) {
#ifdef __CUDACC__
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(result) : "r"(value), "r"(mask), "r"(bits));
  return result;
#else
  return (value & mask) | bits;
#endif
}

// Byte i of the result is byte `selector >> 4 * i & 7` of {a: 0 to 3, b: 4 to 7}.
__device__ __forceinline__ uint32_t PermuteBytes(uint32_t a, uint32_t b, uint32_t selector) {
#ifdef __CUDACC__
  uint32_t result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(selector));
  return result;
#else
  const uint64_t bytes = uint64_t{b} << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t index = selector >> (4 * i) & 7;
    result |= static_cast<uint32_t>(bytes >> (8 * index) & 0xFF) << (8 * i);
  }
  return result;
#endif
}

// 2^x with an error of about 2 ulp; subnormal results become 0; Exp2(-infinity) is 0.
__device__ __forceinline__ float Exp2(float x) {
#ifdef __CUDACC__
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#else
  const float result = std::exp2(x);
  return result < 0x1p-126f ? 0.0f : result;
#endif
}

}  // namespace switchyard::cuda
