// Launching kernels: the only place that knows how, on a GPU and in the emulation of tests/emulation.
//
//   __global__ void Scale(float* x, int n) {
//     WaitForPrevious();  // dependency.cuh
//     …
//   }
//   Launch(Scale, LaunchShape{.grid = dim3(blocks), .block = dim3(256)}, stream, x, n);
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "kernels/check.h"
#include "kernels/cuda/dependency.cuh"
#include "kernels/cuda/half.cuh"
#include "kernels/cuda/launch_failure.h"
#include "kernels/cuda/programmatic_launches.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

#ifndef __CUDACC__
#include <source_location>
#include <tuple>

#include "tests/emulation/kernel_launch.h"
#endif

namespace switchyard::cuda {

struct LaunchShape {
  dim3 grid;  // every extent at least 1: launchers return early where there is nothing to do
  dim3 block;
  size_t shared_bytes = 0;  // of dynamic shared memory, up to 99 KB on every architecture that we build for
#ifndef __CUDACC__
  std::source_location where = std::source_location::current();
#endif
};

#ifdef __CUDACC__
// Whether `kernel` waits for the one ahead of it on the current device. The code that runs there decides, not the
// device: what was compiled for an older one, and translated when it was loaded, has no waits. All kernels are compiled
// for the same architectures, so the first one answers for the others.
inline bool WaitsByItself(const void* kernel) {
  static thread_local int known_device = -1;
  static thread_local bool waits = false;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return false;
  if (device != known_device) {
    cudaFuncAttributes attributes = {};
    if (cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess) return false;  // its launch says why
    waits = attributes.ptxVersion >= 90;                                          // of the virtual architecture
    known_device = device;
  }
  return waits;
}
#endif

// How many blocks of `shared_bytes` of shared memory a multiprocessor of the current device has room for, 1 to
// `at_most`; `at_most` in the emulation. Cards of consumers have 100 KB, of which each block takes 1 KB more than it
// asks for.
inline int BlocksPerMultiprocessor(size_t shared_bytes, int at_most) {
#ifdef __CUDACC__
  int device = 0;
  int shared_of_multiprocessor = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&shared_of_multiprocessor, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device) !=
          cudaSuccess) {
    return at_most;  // the launch says why
  }
  const int fit = static_cast<int>(static_cast<size_t>(shared_of_multiprocessor) / (shared_bytes + 1024));
  return fit < 1 ? 1 : fit < at_most ? fit : at_most;
#else
  (void)shared_bytes;
  return at_most;
#endif
}

// Queues `kernel(args...)`, which may start before the one ahead of it has ended and waits for it (dependency.cuh). A
// failure is noted (launch_failure.h) until Backend::Synchronize() reads it.
template <typename... Params, typename... Args>
void Launch(void (*kernel)(Params...), const LaunchShape& shape, Stream stream, Args&&... args) {
  CHECK(shape.grid.x > 0 && shape.grid.y > 0 && shape.grid.z > 0);
  CHECK(shape.block.x > 0 && shape.block.y > 0 && shape.block.z > 0);
#ifdef __CUDACC__
  // Without asking, a block has 48 KB of shared memory, static and dynamic together; no kernel's static part
  // reaches 16.
  constexpr size_t kSharedBytesWithoutAsking = 32 * 1024;
  if (shape.shared_bytes > kSharedBytesWithoutAsking) {
    NoteLaunch(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)));
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute starts_early = {};
  starts_early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  starts_early.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &starts_early;
  config.numAttrs = ProgrammaticLaunches() && WaitsByItself(reinterpret_cast<const void*>(kernel)) ? 1 : 0;
  NoteLaunch(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...));
#else
  NoteLaunch(emulation::LaunchKernel(
      {.grid = shape.grid,
       .block = shape.block,
       .shared_bytes = shape.shared_bytes,
       .kernel = reinterpret_cast<const void*>(kernel),
       .where = shape.where},
      stream, [kernel, values = std::tuple<std::decay_t<Params>...>(std::forward<Args>(args)...)] {
        std::apply(kernel, values);
      }));
#endif
}

// The block's dynamic shared memory, aligned to 128 bytes.
template <typename T>
__device__ __forceinline__ T* DynamicShared() {
#ifdef __CUDACC__
  extern __shared__ __align__(128) unsigned char dynamic_shared[];
  return reinterpret_cast<T*>(dynamic_shared);
#else
  return static_cast<T*>(emulation::DynamicSharedMemory());
#endif
}

// Calls `f` with a value of the 16-bit type that `dtype` names; any other dtype is a programmer's error.
template <typename F>
void DispatchHalf(DType dtype, F&& f) {
  if (dtype == DType::kBFloat16) {
    f(BFloat16{});
  } else {
    CHECK(dtype == DType::kFloat16);
    f(Float16{});
  }
}

}  // namespace switchyard::cuda
