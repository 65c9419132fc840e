// KV pages by number: who holds which. Owns ids, not memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard {

class PageAllocator;

// Pages held by one sequence; returns them when destroyed, so that accounting cannot leak. Move-only.
class PageLease {
 public:
  PageLease() = default;
  explicit PageLease(PageAllocator* allocator) : allocator_(allocator) {}
  PageLease(PageLease&& other) noexcept;
  PageLease& operator=(PageLease&& other) noexcept;
  ~PageLease() { Clear(); }

  std::span<const int32_t> pages() const { return pages_; }
  int64_t size() const { return static_cast<int64_t>(pages_.size()); }
  // Adds `count` >= 0 pages, all or none: false and unchanged if the allocator has fewer.
  bool Grow(int64_t count);
  // Returns all pages; the lease may grow again.
  void Clear();

 private:
  PageAllocator* allocator_ = nullptr;  // borrowed; outlives the lease
  std::vector<int32_t> pages_;
};

// Not thread-safe: belongs to the scheduler.
class PageAllocator {
 public:
  explicit PageAllocator(int64_t num_pages);
  PageAllocator(const PageAllocator&) = delete;
  PageAllocator& operator=(const PageAllocator&) = delete;
  ~PageAllocator();  // CHECKs that every page came back

  int64_t num_pages() const { return num_pages_; }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_used() const { return num_pages_ - num_free(); }

 private:
  friend class PageLease;
  int64_t num_pages_;
  std::vector<int32_t> free_;  // a stack: recently used pages first, for the caches' sake
};

}  // namespace switchyard
