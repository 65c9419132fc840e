// Memory that a Backend keeps between steps, so that a step in steady state allocates nothing.
#pragma once

#include <cstdint>

#include "kernels/check.h"
#include "kernels/cpu/host_memory.h"

namespace switchyard {

// Grows to the largest size ever asked for; contents are lost when it grows. Not thread-safe.
template <typename T>
class Scratch {
 public:
  // At least `count` elements, aligned to 64 bytes; valid until the next Get.
  T* Get(int64_t count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    if (bytes > buffer_.bytes()) {
      // An operation has no status to return, and what a step needs at most is small beside weights and cache.
      absl::StatusOr<Buffer> larger = AllocateHostMemory(bytes + bytes / 4);
      CHECK(larger.ok());
      buffer_ = *std::move(larger);
    }
    return static_cast<T*>(buffer_.data());
  }

 private:
  Buffer buffer_;
};

}  // namespace switchyard
