#include "engine/page_allocator.h"

#include <utility>

#include "kernels/check.h"

namespace switchyard {

PageLease::PageLease(PageLease&& other) noexcept
    : allocator_(other.allocator_), pages_(std::exchange(other.pages_, {})) {}

PageLease& PageLease::operator=(PageLease&& other) noexcept {
  if (this == &other) return *this;
  Clear();
  allocator_ = other.allocator_;
  pages_ = std::exchange(other.pages_, {});
  return *this;
}

bool PageLease::Grow(int64_t count) {
  CHECK_GE(count, 0);
  if (count == 0) return true;
  CHECK(allocator_ != nullptr);
  if (count > allocator_->num_free()) return false;
  for (int64_t i = 0; i < count; ++i) pages_.push_back(allocator_->Take());
  return true;
}

void PageLease::Share(std::span<const int32_t> pages) {
  CHECK(pages.empty() || allocator_ != nullptr);
  for (const int32_t page : pages) {
    allocator_->Hold(page);
    pages_.push_back(page);
  }
}

void PageLease::Replace(int64_t index, int32_t page) {
  CHECK(index >= 0 && index < size());
  allocator_->Hold(page);
  allocator_->Release(std::exchange(pages_[static_cast<size_t>(index)], page));
}

void PageLease::Clear() {
  // The last first: the same pages come out again in the same order, and of a kept prefix the end is evicted before the
  // beginning, which more prompts share.
  for (; !pages_.empty(); pages_.pop_back()) allocator_->Release(pages_.back());
}

PageAllocator::PageAllocator(int64_t num_pages, EvictionCallback on_eviction)
    : num_pages_(num_pages), on_eviction_(std::move(on_eviction)) {
  CHECK(num_pages >= 0 && num_pages <= INT32_MAX);
  states_.resize(static_cast<size_t>(num_pages));
  free_.reserve(static_cast<size_t>(num_pages));
  for (int64_t page = num_pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

PageAllocator::~PageAllocator() { CHECK_EQ(num_used(), 0); }

void PageAllocator::Keep(int32_t page) {
  CHECK(IsHeld(page));
  state(page).is_kept = true;
}

void PageAllocator::Drop(int32_t page) {
  CHECK(state(page).is_kept);
  state(page).is_kept = false;
  if (IsHeld(page)) return;
  idle_.erase(state(page).idle);
  free_.push_back(page);
}

int32_t PageAllocator::Take() {
  if (free_.empty()) {
    CHECK(!idle_.empty());
    const int32_t page = idle_.front();
    if (on_eviction_) on_eviction_(page);
    if (state(page).is_kept) Drop(page);
  }
  const int32_t page = free_.back();
  free_.pop_back();
  state(page).num_holders = 1;
  return page;
}

void PageAllocator::Hold(int32_t page) {
  CHECK(state(page).is_kept);
  if (state(page).num_holders++ == 0) idle_.erase(state(page).idle);
}

void PageAllocator::Release(int32_t page) {
  CHECK(IsHeld(page));
  if (--state(page).num_holders > 0) return;
  if (state(page).is_kept) {
    state(page).idle = idle_.insert(idle_.end(), page);
  } else {
    free_.push_back(page);
  }
}

}  // namespace switchyard
