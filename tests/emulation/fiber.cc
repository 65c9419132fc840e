#include "tests/emulation/fiber.h"

#include <sys/mman.h>

#include <cstdlib>

#include "kernels/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace switchyard::emulation {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kStackBytes = 256 * 1024;  // only what is touched takes memory
constexpr size_t kMappingBytes = kPage + kStackBytes;

// The fiber that Enter finds: there is but one argument, and SwitchTo needs it for the one that is left.
thread_local constinit Fiber* entering = nullptr;

}  // namespace

Fiber::Fiber() {
#if defined(__SANITIZE_THREAD__)
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

Fiber::Fiber(void (*entry)(void*), void* argument, size_t color) : entry_(entry), argument_(argument) {
  mapping_ = mmap(nullptr, kMappingBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(mapping_ != MAP_FAILED);
  CHECK_EQ(mprotect(mapping_, kPage, PROT_NONE), 0);  // the guard below the stack
  bottom_ = static_cast<char*>(mapping_) + kPage;
  size_ = kStackBytes;
  char* top = static_cast<char*>(mapping_) + kMappingBytes - color * 576 % (4 * kPage);
  context_ = boost::context::detail::make_fcontext(top, static_cast<size_t>(top - static_cast<const char*>(bottom_)),
                                                   &Fiber::Enter);
#if defined(__SANITIZE_THREAD__)
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
  // Runs up to its first switch back, so that a later SwitchTo finds it waiting like any other.
  Fiber here;
  entering = this;
  here.SwitchTo(*this);
}

Fiber::~Fiber() {
  if (mapping_ == nullptr) return;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(bottom_, size_);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(tsan_fiber_);
#endif
  munmap(mapping_, kMappingBytes);
}

void Fiber::Enter(boost::context::detail::transfer_t from) {
  Fiber& self = *entering;
  self.Arrived(from);
  self.SwitchTo(*static_cast<Fiber*>(from.data));
  self.entry_(self.argument_);
  std::abort();
}

}  // namespace switchyard::emulation
