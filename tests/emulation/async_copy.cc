#include "tests/emulation/async_copy.h"

#include <cstring>

#include "tests/emulation/thread.h"

namespace switchyard::emulation {

void AsyncCopies::Start16(void* target, const void* source, bool valid) {
  CheckAligned16(target, "cp.async (shared address)");
  if (valid) CheckAligned16(source, "cp.async (global address)");
  std::memset(target, 0xFF, 16);
  copies_.push_back({target, source, valid});
}

void AsyncCopies::Commit() { group_ends_.push_back(copies_.size()); }

void AsyncCopies::Wait(int max_pending_groups) {
  const size_t pending = static_cast<size_t>(max_pending_groups);
  if (group_ends_.size() <= pending) return;
  const size_t num_groups = group_ends_.size() - pending;
  const size_t num_copies = group_ends_[num_groups - 1];
  for (size_t i = 0; i < num_copies; ++i) {
    if (copies_[i].valid) {
      std::memcpy(copies_[i].target, copies_[i].source, 16);
    } else {
      std::memset(copies_[i].target, 0, 16);
    }
  }
  copies_.erase(copies_.begin(), copies_.begin() + static_cast<std::ptrdiff_t>(num_copies));
  group_ends_.erase(group_ends_.begin(), group_ends_.begin() + static_cast<std::ptrdiff_t>(num_groups));
  for (size_t& end : group_ends_) end -= num_copies;
}

void AsyncCopies::Clear() {
  copies_.clear();
  group_ends_.clear();
}

void StartAsyncCopy16(void* target, const void* source, bool valid) {
  current_thread->copies.Start16(target, source, valid);
}
void CommitAsyncCopies() { current_thread->copies.Commit(); }
void WaitForAsyncCopies(int max_pending_groups) { current_thread->copies.Wait(max_pending_groups); }

}  // namespace switchyard::emulation
