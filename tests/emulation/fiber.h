// A call stack of its own that an OS thread can switch to, on the assembly of Boost.Context.
//
// A fiber stays on the OS thread that made it. Switches are announced to AddressSanitizer and ThreadSanitizer.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace switchyard::emulation {

class Fiber {
 public:
  // The stack that the calling OS thread already runs on, as something to switch back to.
  Fiber();
  // A new stack on which `entry(argument)` runs when first switched to; it must never return. `color` staggers the
  // stacks of many fibers, which would otherwise compete for the same cache sets.
  Fiber(void (*entry)(void*), void* argument, size_t color);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Suspends *this, which must be running, and continues `to`; returns when something switches back.
  void SwitchTo(Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake_stack_, to.bottom_, to.size_);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to.tsan_fiber_, 0);
#endif
    Arrived(boost::context::detail::jump_fcontext(to.context_, this));
  }

 private:
  static void Enter(boost::context::detail::transfer_t from);
  // On the stack of *this, just switched to.
  void Arrived(boost::context::detail::transfer_t from) {
    Fiber& previous = *static_cast<Fiber*>(from.data);
    previous.context_ = from.fctx;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack_, &previous.bottom_, &previous.size_);
#endif
  }

  boost::context::detail::fcontext_t context_ = nullptr;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  void* mapping_ = nullptr;  // null for the OS thread's own stack
  const void* bottom_ = nullptr;
  size_t size_ = 0;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack_ = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
  void* tsan_fiber_ = nullptr;
#endif
};

}  // namespace switchyard::emulation
