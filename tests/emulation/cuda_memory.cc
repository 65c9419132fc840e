// Device and pinned memory as heap blocks, and copies between them.
#include <cstdlib>
#include <cstring>
#include <map>

#include "tests/emulation/runtime_state.h"

namespace switchyard::emulation {
namespace {

constexpr size_t kAlignment = 256;
constexpr int kPinnedHost = -1;

struct Block {
  size_t bytes = 0;
  int device = kPinnedHost;
};

// Every block that was allocated through the runtime. All members lock.
class Blocks {
 public:
  static Blocks& Get() {
    static Blocks blocks;
    return blocks;
  }

  cudaError_t Allocate(void** pointer, size_t bytes, int device) {
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    std::lock_guard lock(mutex_);
    if (device != kPinnedHost && in_use_[device] + bytes > Devices().memory_bytes) return cudaErrorMemoryAllocation;
    if (posix_memalign(pointer, kAlignment, bytes) != 0) return cudaErrorMemoryAllocation;
    std::memset(*pointer, 0xFF, bytes);
    in_use_[device] += bytes;
    blocks_[static_cast<char*>(*pointer)] = {bytes, device};
    return cudaSuccess;
  }

  cudaError_t Free(void* pointer, bool pinned) {
    if (pointer == nullptr) return cudaSuccess;
    std::lock_guard lock(mutex_);
    const auto found = blocks_.find(static_cast<char*>(pointer));
    if (found == blocks_.end() || (found->second.device == kPinnedHost) != pinned) return cudaErrorInvalidValue;
    in_use_[found->second.device] -= found->second.bytes;
    blocks_.erase(found);
    std::free(pointer);
    return cudaSuccess;
  }

  size_t InUse(int device) {
    std::lock_guard lock(mutex_);
    return in_use_[device];
  }

  // Whether [pointer, pointer + bytes) may stand where the direction of a copy says `device`: inside of one device
  // block, or outside of all.
  bool Is(const void* pointer, size_t bytes, bool device) {
    std::lock_guard lock(mutex_);
    auto after = blocks_.upper_bound(static_cast<char*>(const_cast<void*>(pointer)));
    if (after == blocks_.begin()) return !device;
    const auto& [begin, block] = *std::prev(after);
    const size_t offset = static_cast<size_t>(static_cast<const char*>(pointer) - begin);
    const bool inside = offset < block.bytes;
    if (inside && offset + bytes > block.bytes) return false;
    return (inside && block.device != kPinnedHost) == device;
  }

 private:
  std::mutex mutex_;
  std::map<char*, Block> blocks_;
  std::map<int, size_t> in_use_;
};

cudaError_t CheckCopy(const void* target, size_t target_bytes, const void* source, size_t source_bytes,
                      cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault || target_bytes == 0) return cudaSuccess;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const bool right =
      Blocks::Get().Is(target, target_bytes, to_device) && Blocks::Get().Is(source, source_bytes, from_device);
  return right ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

size_t DeviceBytesInUse(int device) { return Blocks::Get().InUse(device); }

}  // namespace switchyard::emulation

namespace emulation = switchyard::emulation;
using emulation::Blocks;
using emulation::CheckUnsafeCall;
using emulation::SetLastError;

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (const cudaError_t error = CheckUnsafeCall()) return SetLastError(error);
  return SetLastError(Blocks::Get().Allocate(pointer, bytes, emulation::CurrentDevice()));
}

cudaError_t cudaFree(void* pointer) {
  if (const cudaError_t error = CheckUnsafeCall()) return SetLastError(error);
  return SetLastError(Blocks::Get().Free(pointer, /*pinned=*/false));
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault); }

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned int) {
  if (const cudaError_t error = CheckUnsafeCall()) return SetLastError(error);
  return SetLastError(Blocks::Get().Allocate(pointer, bytes, emulation::kPinnedHost));
}

cudaError_t cudaFreeHost(void* pointer) {
  if (const cudaError_t error = CheckUnsafeCall()) return SetLastError(error);
  return SetLastError(Blocks::Get().Free(pointer, /*pinned=*/true));
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *total_bytes = emulation::Devices().memory_bytes;
  *free_bytes = *total_bytes - emulation::DeviceBytesInUse(emulation::CurrentDevice());
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* target, const void* source, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = CheckUnsafeCall()) return SetLastError(error);
  return cudaMemcpyAsync(target, source, bytes, kind, nullptr);
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return cudaMemcpy2DAsync(target, bytes, source, bytes, bytes, bytes == 0 ? 0 : 1, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void* target, size_t target_pitch, const void* source, size_t source_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (width > target_pitch || width > source_pitch) return SetLastError(cudaErrorInvalidValue);
  const auto extent = [&](size_t pitch) { return width == 0 || height == 0 ? 0 : pitch * (height - 1) + width; };
  if (const cudaError_t error =
          emulation::CheckCopy(target, extent(target_pitch), source, extent(source_pitch), kind)) {
    return SetLastError(error);
  }
  return SetLastError(emulation::Enqueue(stream, [=] {
    for (size_t row = 0; row < height; ++row) {
      std::memmove(static_cast<char*>(target) + row * target_pitch,
                   static_cast<const char*>(source) + row * source_pitch, width);
    }
  }));
}

cudaError_t cudaMemcpyPeerAsync(void* target, int, const void* source, int, size_t bytes, cudaStream_t stream) {
  return cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, stream);
}

cudaError_t cudaMemset(void* target, int value, size_t bytes) {
  if (const cudaError_t error = CheckUnsafeCall()) return SetLastError(error);
  return cudaMemsetAsync(target, value, bytes, nullptr);
}

cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!Blocks::Get().Is(target, bytes, /*device=*/true)) return SetLastError(cudaErrorInvalidValue);
  return SetLastError(emulation::Enqueue(stream, [=] { std::memset(target, value, bytes); }));
}
