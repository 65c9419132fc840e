// The 16-bit number types of kernels, their conversions and their arithmetic in pairs. Device side: PTX for sm_80 and
// later. Host side: the same for the emulation of tests/emulation.
// Source: NVIDIA, Parallel Thread Execution ISA 8.x, sections on cvt and fma.
#pragma once

#include <cstdint>
#include <type_traits>

#ifndef __CUDACC__
#include <cmath>

#include "tests/emulation/half_convert.h"
#endif

namespace switchyard::cuda {

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

template <typename T>
inline constexpr bool kIsHalf = std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>;

template <typename T>
__device__ __forceinline__ float ToFloat(T value) {
  static_assert(kIsHalf<T>);
#ifdef __CUDACC__
  if constexpr (std::is_same_v<T, BFloat16>) {
    return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
  } else {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
  }
#else
  if constexpr (std::is_same_v<T, BFloat16>) {
    return emulation::FloatFromBFloat16Bits(value.bits);
  } else {
    return emulation::FloatFromFloat16Bits(value.bits);
  }
#endif
}

// Rounds to nearest, ties to even.
template <typename T>
__device__ __forceinline__ T FromFloat(float value) {
  static_assert(kIsHalf<T>);
  T result;
#ifdef __CUDACC__
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  } else {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  }
#else
  if constexpr (std::is_same_v<T, BFloat16>) {
    result.bits = emulation::BFloat16BitsFromFloat(value);
  } else {
    result.bits = emulation::Float16BitsFromFloat(value);
  }
#endif
  return result;
}

// Two rounded numbers in one register, `lo` in the low half: the order of two neighbours in memory.
template <typename T>
__device__ __forceinline__ uint32_t Pack2(float lo, float hi) {
  static_assert(kIsHalf<T>);
#ifdef __CUDACC__
  uint32_t result;
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(hi), "f"(lo));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(hi), "f"(lo));
  }
  return result;
#else
  return FromFloat<T>(lo).bits | static_cast<uint32_t>(FromFloat<T>(hi).bits) << 16;
#endif
}

// {low half, high half}.
template <typename T>
__device__ __forceinline__ float2 Unpack2(uint32_t packed) {
  static_assert(kIsHalf<T>);
#ifdef __CUDACC__
  if constexpr (std::is_same_v<T, BFloat16>) {
    return make_float2(__uint_as_float(packed << 16), __uint_as_float(packed & 0xFFFF0000u));
  } else {
    float2 result;
    asm("{\n"
        ".reg .b16 lo, hi;\n"
        "mov.b32 {lo, hi}, %2;\n"
        "cvt.f32.f16 %0, lo;\n"
        "cvt.f32.f16 %1, hi;\n"
        "}"
        : "=f"(result.x), "=f"(result.y)
        : "r"(packed));
    return result;
  }
#else
  return make_float2(ToFloat(T{static_cast<uint16_t>(packed)}), ToFloat(T{static_cast<uint16_t>(packed >> 16)}));
#endif
}

// {a.lo * b.lo + c.lo, a.hi * b.hi + c.hi}, each rounded once.
template <typename T>
__device__ __forceinline__ uint32_t Fma2(uint32_t a, uint32_t b, uint32_t c) {
  static_assert(kIsHalf<T>);
#ifdef __CUDACC__
  uint32_t result;
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  } else {
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  }
  return result;
#else
  const float2 x = Unpack2<T>(a);
  const float2 y = Unpack2<T>(b);
  const float2 z = Unpack2<T>(c);
  // A product of two of T is exact in float; the sum is rounded twice at most here.
  return Pack2<T>(std::fma(x.x, y.x, z.x), std::fma(x.y, y.y, z.y));
#endif
}

}  // namespace switchyard::cuda
