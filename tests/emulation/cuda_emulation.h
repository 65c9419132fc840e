// The CUDA language, as far as the kernels use it, for a C++ compiler. Force-included before every .cu file that is
// compiled for the host (add_emulated_cuda_library).
//
// Approximate device functions (__expf, rsqrtf, …) are the accurate ones here.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <source_location>
#include <type_traits>

#include "tests/emulation/include/vector_types.h"
#include "tests/emulation/kernel_launch.h"
#include "tests/emulation/thread.h"
#include "tests/emulation/warp.h"

// Keywords
// -------------------------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// AddressSanitizer guards the ends of plain statics, but not of thread-local ones; launches are serialised for it.
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static
#else
#define __shared__ static thread_local
#endif

#define threadIdx (::switchyard::emulation::current_thread->index)
#define blockIdx (::switchyard::emulation::current_thread->shape->block_index)
#define blockDim (::switchyard::emulation::current_thread->shape->block)
#define gridDim (::switchyard::emulation::current_thread->shape->grid)

// Synchronisation and warps
// --------------------------------------------------------------------------------------------

inline void __syncthreads(const std::source_location& where = std::source_location::current()) {
  switchyard::emulation::BlockBarrier(where);
}
inline void __syncwarp(unsigned int mask = switchyard::emulation::kAllLanes) {
  switchyard::emulation::WarpCollective(mask, "__syncwarp", nullptr, [](void* const*, uint32_t) {});
}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
T __shfl_sync(unsigned int mask, T value, int source, int width = 32) {
  using namespace switchyard::emulation;
  return ShuffleSync(Shuffle::kIndex, "__shfl_sync", mask, value, source, width);
}
template <typename T>
T __shfl_xor_sync(unsigned int mask, T value, int lane_mask, int width = 32) {
  using namespace switchyard::emulation;
  return ShuffleSync(Shuffle::kXor, "__shfl_xor_sync", mask, value, lane_mask, width);
}
template <typename T>
T __shfl_up_sync(unsigned int mask, T value, unsigned int delta, int width = 32) {
  using namespace switchyard::emulation;
  return ShuffleSync(Shuffle::kUp, "__shfl_up_sync", mask, value, static_cast<int>(delta), width);
}
template <typename T>
T __shfl_down_sync(unsigned int mask, T value, unsigned int delta, int width = 32) {
  using namespace switchyard::emulation;
  return ShuffleSync(Shuffle::kDown, "__shfl_down_sync", mask, value, static_cast<int>(delta), width);
}
inline unsigned int __ballot_sync(unsigned int mask, int predicate) {
  return switchyard::emulation::Ballot("__ballot_sync", mask, predicate != 0);
}
inline int __any_sync(unsigned int mask, int predicate) {
  return switchyard::emulation::Ballot("__any_sync", mask, predicate != 0) != 0;
}
inline int __all_sync(unsigned int mask, int predicate) {
  return switchyard::emulation::Ballot("__all_sync", mask, predicate != 0) == mask;
}
inline unsigned int __reduce_max_sync(unsigned int mask, unsigned int value) {
  return switchyard::emulation::ReduceSync("__reduce_max_sync", mask, value,
                                           [](uint32_t a, uint32_t b) { return a < b ? b : a; });
}
inline unsigned int __reduce_min_sync(unsigned int mask, unsigned int value) {
  return switchyard::emulation::ReduceSync("__reduce_min_sync", mask, value,
                                           [](uint32_t a, uint32_t b) { return b < a ? b : a; });
}

// Atomics: threads of an OS thread's launches run one at a time, so plain updates are atomic
// ----------------------------

template <typename T, typename Update>
T EmulatedAtomic(T* address, Update update) {
  switchyard::emulation::MaybeYield();
  const T old = *address;
  *address = update(old);
  return old;
}
template <typename T>
concept EmulatedAtomicNumber = std::is_same_v<T, int> || std::is_same_v<T, unsigned int> ||
    std::is_same_v<T, unsigned long long> || std::is_same_v<T, float>;
template <typename T>
concept EmulatedAtomicInteger = EmulatedAtomicNumber<T> && std::is_integral_v<T>;

template <EmulatedAtomicNumber T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return EmulatedAtomic(address, [value](T old) { return static_cast<T>(old + value); });
}
template <EmulatedAtomicInteger T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return EmulatedAtomic(address, [value](T old) { return std::max(old, value); });
}
template <EmulatedAtomicInteger T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return EmulatedAtomic(address, [value](T old) { return std::min(old, value); });
}
template <EmulatedAtomicNumber T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return EmulatedAtomic(address, [value](T) { return value; });
}
template <EmulatedAtomicInteger T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return EmulatedAtomic(address, [expected, value](T old) { return old == expected ? value : old; });
}

// Scalars
// --------------------------------------------------------------------------------------------------------------

template <typename T>
T __ldg(const T* address) {
  return *address;
}
inline int __popc(unsigned int x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned int>(x)); }
// 1 + index of the lowest set bit; 0 if none is set.
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned int>(x)) + 1; }
// The high word of the product.
inline unsigned int __umulhi(unsigned int a, unsigned int b) {
  return static_cast<unsigned int>(static_cast<uint64_t>(a) * b >> 32);
}
// A product and a sum that are not contracted.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline unsigned int __float_as_uint(float x) { return std::bit_cast<unsigned int>(x); }
inline float __uint_as_float(unsigned int x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

template <typename A, typename B>
requires(std::is_arithmetic_v<A>&& std::is_arithmetic_v<B>) constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <typename A, typename B>
requires(std::is_arithmetic_v<A>&& std::is_arithmetic_v<B>) constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}
