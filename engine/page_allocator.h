// KV pages by number: who holds which, and which are worth keeping. Owns ids, not memory.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <span>
#include <vector>

namespace switchyard {

class PageAllocator;

// Pages held by one sequence, in order of position; returns them when destroyed, so that accounting cannot leak. A page
// may be in several leases. Move-only.
class PageLease {
 public:
  PageLease() = default;
  explicit PageLease(PageAllocator* allocator) : allocator_(allocator) {}
  PageLease(PageLease&& other) noexcept;
  PageLease& operator=(PageLease&& other) noexcept;
  ~PageLease() { Clear(); }

  std::span<const int32_t> pages() const { return pages_; }
  int64_t size() const { return static_cast<int64_t>(pages_.size()); }
  // Adds `count` >= 0 pages that nobody holds, all or none: false and unchanged if the allocator has fewer. Kept ones
  // come last, and lose their contents.
  bool Grow(int64_t count);
  // Adds pages that are kept, whether somebody holds them or not, with their contents.
  void Share(std::span<const int32_t> pages);
  // Holds `page`, which is kept, in the place of pages()[index].
  void Replace(int64_t index, int32_t page);
  // Returns all pages, the last first; the lease may grow again.
  void Clear();

 private:
  PageAllocator* allocator_ = nullptr;  // borrowed; outlives the lease
  std::vector<int32_t> pages_;
};

// Not thread-safe: belongs to the scheduler.
class PageAllocator {
 public:
  // A kept page is needed for a new holder, who will write over it: whoever keeps it is to drop it.
  using EvictionCallback = std::function<void(int32_t page)>;

  explicit PageAllocator(int64_t num_pages, EvictionCallback on_eviction = {});
  PageAllocator(const PageAllocator&) = delete;
  PageAllocator& operator=(const PageAllocator&) = delete;
  ~PageAllocator();  // CHECKs that every page came back

  int64_t num_pages() const { return num_pages_; }
  // Pages that nobody holds, kept or not: all of these can be had.
  int64_t num_free() const { return static_cast<int64_t>(free_.size() + idle_.size()); }
  int64_t num_used() const { return num_pages_ - num_free(); }

  bool IsHeld(int32_t page) const { return state(page).num_holders > 0; }
  // The contents of a page that is held are to outlive its holders, until the page is needed; of those, the one that
  // lost its last holder first goes first.
  void Keep(int32_t page);
  // Undoes Keep: the contents are of no use.
  void Drop(int32_t page);

 private:
  friend class PageLease;
  struct State {
    int32_t num_holders = 0;
    bool is_kept = false;
    std::list<int32_t>::iterator idle;  // in idle_, where kept and without holder
  };

  State& state(int32_t page) { return states_[static_cast<size_t>(page)]; }
  const State& state(int32_t page) const { return states_[static_cast<size_t>(page)]; }
  int32_t Take();           // CHECKs that there is one
  void Hold(int32_t page);  // one more holder of a kept page
  void Release(int32_t page);

  int64_t num_pages_;
  EvictionCallback on_eviction_;
  std::vector<State> states_;  // [num_pages]
  std::vector<int32_t> free_;  // neither held nor kept; a stack: recently used pages first, for the caches' sake
  std::list<int32_t> idle_;    // kept, without holder: the next to be evicted first
};

}  // namespace switchyard
