// Device memory of one backend: a block taken at creation, given out front to back, and single allocations beyond it.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/device.h"

namespace switchyard::cuda {

// Used from one thread. Nothing is given back before the arena ends: cudaFree waits for the whole GPU, and a kernel of
// NCCL there may be waiting for this very thread. Must outlive its Buffers.
class Arena {
 public:
  // On the current device, zeroed. RESOURCE_EXHAUSTED names the size asked for and the size free.
  static absl::StatusOr<Arena> Create(size_t bytes);
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&&) = delete;
  ~Arena();

  // Zeroed, aligned to kAlignment (memory_layout.h); the allocation takes AlignedBytes(bytes).
  absl::StatusOr<Buffer> Allocate(size_t bytes);
  size_t bytes_used() const { return used_; }

 private:
  Arena(std::byte* data, size_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* data_ = nullptr;
  const size_t bytes_ = 0;
  size_t used_ = 0;
  std::vector<void*> single_;  // allocations beyond the block
};

}  // namespace switchyard::cuda
