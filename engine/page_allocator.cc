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
  std::vector<int32_t>& free = allocator_->free_;
  pages_.insert(pages_.end(), free.rbegin(), free.rbegin() + count);
  free.resize(free.size() - static_cast<size_t>(count));
  return true;
}

void PageLease::Clear() {
  if (pages_.empty()) return;
  // Reversed, so that the same pages come out again in the same order.
  allocator_->free_.insert(allocator_->free_.end(), pages_.rbegin(), pages_.rend());
  pages_.clear();
}

PageAllocator::PageAllocator(int64_t num_pages) : num_pages_(num_pages) {
  CHECK(num_pages >= 0 && num_pages <= INT32_MAX);
  free_.reserve(static_cast<size_t>(num_pages));
  for (int64_t page = num_pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

PageAllocator::~PageAllocator() { CHECK_EQ(num_used(), 0); }

}  // namespace switchyard
