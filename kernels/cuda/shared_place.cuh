// A place in shared memory whose address is kept in 32 bits: the compiler computes that of a pointer anew, from the
// block's window, for each group of loads.
#pragma once

#include <cstdint>

#ifndef __CUDACC__
#include "tests/emulation/async_copy.h"
#endif

namespace switchyard::cuda {

// What instructions take for an address of shared memory; in the emulation a pointer.
#ifdef __CUDACC__
__device__ __forceinline__ uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}
#else
inline const unsigned char* SharedAddress(const void* shared) { return static_cast<const unsigned char*>(shared); }
#endif

class SharedPlace {
 public:
  explicit __device__ SharedPlace(const void* shared) : address_(SharedAddress(shared)) {}

  // `bytes` further on.
  __device__ __forceinline__ SharedPlace At(uint32_t bytes) const {
    SharedPlace place = *this;
    place.address_ += bytes;
    return place;
  }

  // Of what does not change while it is read: these loads keep to no order but that of their operands.
  __device__ __forceinline__ uint32_t LoadConstant() const {
#ifdef __CUDACC__
    uint32_t result;
    asm("ld.shared.u32 %0, [%1];" : "=r"(result) : "r"(address_));
    return result;
#else
    return *reinterpret_cast<const uint32_t*>(address_);
#endif
  }

  // 16 bytes, aligned to 16; behind CpAsyncWait that of the thread's own copies.
  __device__ __forceinline__ uint4 Load16() const {
#ifdef __CUDACC__
    uint4 result;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(result.x), "=r"(result.y), "=r"(result.z), "=r"(result.w)
                 : "r"(address_)
                 : "memory");
    return result;
#else
    return *reinterpret_cast<const uint4*>(address_);
#endif
  }

  // 8 bytes, the same.
  __device__ __forceinline__ uint2 Load8() const {
#ifdef __CUDACC__
    uint2 result;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(result.x), "=r"(result.y) : "r"(address_) : "memory");
    return result;
#else
    return *reinterpret_cast<const uint2*>(address_);
#endif
  }

  // CpAsync16 to here.
  __device__ __forceinline__ void CopyAsync16(const void* global) const {
#ifdef __CUDACC__
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;"
                 :
                 : "r"(address_), "l"(__cvta_generic_to_global(global))
                 : "memory");
#else
    emulation::StartAsyncCopy16(const_cast<unsigned char*>(address_), global, true);
#endif
  }

 private:
  decltype(SharedAddress(nullptr)) address_;
};

}  // namespace switchyard::cuda
