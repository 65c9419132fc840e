// What a kernel did that CUDA forbids, in words, before the process aborts.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/emulation/block_scheduler.h"
#include "tests/emulation/kernel_symbols.h"

namespace switchyard::emulation {
namespace {

std::string Text(const char* format, auto... values) {
  std::string text(static_cast<size_t>(std::snprintf(nullptr, 0, format, values...)), '\0');
  std::snprintf(text.data(), text.size() + 1, format, values...);
  return text;
}

std::string Place(const std::source_location& where) { return Text("%s:%u", where.file_name(), where.line()); }

std::string WaitOf(const Thread& thread, const std::source_location& barrier) {
  const Warp& warp = *thread.warp;
  const uint32_t bit = 1u << thread.lane;
  if ((warp.exited & bit) != 0) return "exited";
  if ((warp.at_barrier & bit) != 0) return "waits at __syncthreads() in " + Place(barrier);
  if ((warp.arrived & bit) != 0) {
    return Text("waits in %s with mask %08x", warp.names[thread.lane], warp.masks[thread.lane]);
  }
  return &thread == current_thread ? "is running" : "is ready";
}

}  // namespace

void BlockScheduler::ReportStuck(const char* what) const {
  const uint3& b = shape_.block_index;
  std::string report =
      Text("CUDA emulation: %s: block (%u, %u, %u): %s\n", Describe(*launch_).c_str(), b.x, b.y, b.z, what);
  // Neighbours that do the same share a line.
  for (uint32_t first = 0; first < num_threads_;) {
    const std::string wait = WaitOf(threads_[first], barrier_);
    uint32_t end = first + 1;
    while (end < num_threads_ && WaitOf(threads_[end], barrier_) == wait) ++end;
    report += Text("  threads %u to %u: %s\n", first, end - 1, wait.c_str());
    first = end;
  }
  std::fputs(report.c_str(), stderr);
  std::abort();
}

void BlockScheduler::Fault(const char* what) const {
  if (current_thread == nullptr) {
    std::fprintf(stderr, "CUDA emulation: outside of any kernel: %s\n", what);
    std::abort();
  }
  const uint3& t = current_thread->index;
  ReportStuck(Text("thread (%u, %u, %u) %s", t.x, t.y, t.z, what).c_str());
  std::abort();
}

void FaultMisaligned(const void* address, const char* instruction) {
  Fault(Text("gave %p to %s, which is not aligned to 16 bytes", address, instruction).c_str());
}

void FaultShuffleSource(uint32_t mask, int lane, int source) {
  Fault(Text("met a shuffle in its warp in which lane %d reads lane %d, which is not in the mask %08x", lane, source,
             mask)
            .c_str());
}

}  // namespace switchyard::emulation
