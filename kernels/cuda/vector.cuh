// Eight consecutive elements as floats, in 16-byte accesses: one for 16-bit types, two for float32. Addresses are
// aligned to 16 bytes.
#pragma once

#include <cstdint>

#include "kernels/cuda/half.cuh"

namespace switchyard::cuda {

inline constexpr int kVectorElements = 8;

// The values of a uint4 that holds eight of T, and back.
template <class T>
__device__ __forceinline__ void Unpack8(uint4 packed, float (&values)[8]) {
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = Unpack2<T>(words[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

template <class T>
__device__ __forceinline__ uint4 Pack8(const float (&values)[8]) {
  return make_uint4(Pack2<T>(values[0], values[1]), Pack2<T>(values[2], values[3]), Pack2<T>(values[4], values[5]),
                    Pack2<T>(values[6], values[7]));
}

template <class T>
__device__ __forceinline__ void Load8(const T* source, float (&values)[8]) {
  Unpack8<T>(*reinterpret_cast<const uint4*>(source), values);
}

__device__ __forceinline__ void Load8(const float* source, float (&values)[8]) {
  const float4 low = reinterpret_cast<const float4*>(source)[0];
  const float4 high = reinterpret_cast<const float4*>(source)[1];
  values[0] = low.x;
  values[1] = low.y;
  values[2] = low.z;
  values[3] = low.w;
  values[4] = high.x;
  values[5] = high.y;
  values[6] = high.z;
  values[7] = high.w;
}

template <class T>
__device__ __forceinline__ void Store8(T* target, const float (&values)[8]) {
  *reinterpret_cast<uint4*>(target) = Pack8<T>(values);
}

__device__ __forceinline__ void Store8(float* target, const float (&values)[8]) {
  reinterpret_cast<float4*>(target)[0] = make_float4(values[0], values[1], values[2], values[3]);
  reinterpret_cast<float4*>(target)[1] = make_float4(values[4], values[5], values[6], values[7]);
}

// For launchers' checks.
inline bool IsAligned16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace switchyard::cuda
