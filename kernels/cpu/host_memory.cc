#include "kernels/cpu/host_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

constexpr size_t kAlignment = 64;
// Below, the C library's heap is as good. Mappings that are made one after the other are neighbours, which the kernel
// merges, so that huge pages span also weights that are smaller than one, if they are filled after all are made.
constexpr size_t kMappedFrom = size_t{256} << 10;

absl::Status Exhausted(size_t bytes) {
  return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", bytes, " bytes of host memory"));
}

}  // namespace

absl::StatusOr<Buffer> AllocateHostMemory(size_t bytes) {
  if (bytes >= kMappedFrom) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return Exhausted(bytes);
    madvise(data, bytes, MADV_HUGEPAGE);  // a wish: without it the memory is the same, only slower
    return Buffer(data, bytes, [bytes](void* mapped) { munmap(mapped, bytes); });
  }
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, rounded == 0 ? kAlignment : rounded);
  if (data == nullptr) return Exhausted(bytes);
  std::memset(data, 0, rounded);
  return Buffer(data, bytes, [](void* allocated) { std::free(allocated); });
}

}  // namespace switchyard
