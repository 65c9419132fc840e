// cp.async: copies that a thread starts, commits in groups, and waits for.
#pragma once

#include <cstddef>
#include <vector>

namespace switchyard::emulation {

// One thread's copies under way. The data is read and written when it is waited for; until then the target holds 0xFF
// bytes, since a GPU may write it at any time: reading too early and overwriting what others still read both show.
class AsyncCopies {
 public:
  void Start16(void* target, const void* source, bool valid);
  void Commit();
  void Wait(int max_pending_groups);
  void Clear();

 private:
  struct Copy {
    void* target;
    const void* source;
    bool valid;
  };
  std::vector<Copy> copies_;
  std::vector<size_t> group_ends_;  // committed groups, oldest first: end of each in copies_
};

// On the running thread.
void StartAsyncCopy16(void* target, const void* source, bool valid);
void CommitAsyncCopies();
void WaitForAsyncCopies(int max_pending_groups);

}  // namespace switchyard::emulation
