#include "tests/emulation/block_scheduler.h"

#include <bit>
#include <cstring>

#include "kernels/check.h"

namespace switchyard::emulation {
namespace {

uint32_t LanesOfWarp(uint32_t warp, uint32_t num_threads) {
  const uint32_t rest = num_threads - warp * 32;
  return rest >= 32 ? kAllLanes : (1u << rest) - 1;
}

// The lowest set bit at or above `start`, around the end.
uint32_t PickBit(uint32_t bits, uint32_t start) {
  return (static_cast<uint32_t>(std::countr_zero(std::rotr(bits, static_cast<int>(start)))) + start) % 32;
}

}  // namespace

thread_local constinit Thread* current_thread = nullptr;

BlockScheduler& BlockScheduler::Get() {
  static thread_local BlockScheduler scheduler;
  return scheduler;
}

uint64_t BlockScheduler::Random(uint64_t bound) {
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX; its high bits are the good ones
  return (random_ >> 32) * bound >> 32;
}

void BlockScheduler::RunBlock(const KernelLaunch& launch, uint3 block_index, const std::function<void()>& thread) {
  const dim3& extent = launch.block;
  launch_ = &launch;
  body_ = &thread;
  shape_ = {launch.grid, launch.block, block_index};
  num_threads_ = extent.x * extent.y * extent.z;
  CHECK(num_threads_ >= 1 && num_threads_ <= kMaxThreads);
  num_warps_ = (num_threads_ + 31) / 32;
  num_exited_ = 0;
  num_at_barrier_ = 0;
  ready_warps_ = 0;
  if (threads_.size() < num_threads_) threads_.resize(num_threads_);
  if (warps_.size() < num_warps_) warps_.resize(num_warps_);
  for (uint32_t w = 0; w < num_warps_; ++w) {
    Warp& warp = warps_[w];
    warp.index = w;
    warp.lanes = LanesOfWarp(w, num_threads_);
    warp.exited = warp.at_barrier = warp.arrived = warp.ready = 0;
    MakeReady(warp, warp.lanes);
  }
  for (uint32_t i = 0; i < num_threads_; ++i) {
    Thread& t = threads_[i];
    t.index = {i % extent.x, i / extent.x % extent.y, i / (extent.x * extent.y)};
    t.shape = &shape_;
    t.warp = &warps_[i / 32];
    t.lane = i % 32;
    t.fiber = nullptr;
    t.has_waited_for_previous = false;
    t.copies.Clear();
  }
  running_warp_ = static_cast<uint32_t>(Random(num_warps_));
  main_.SwitchTo(FiberFor(*PickReady()));
  current_thread = nullptr;
}

void BlockScheduler::Worker::Run(void* self) {
  Worker& worker = *static_cast<Worker*>(self);
  for (;;) worker.scheduler.RunThreads(worker);
}

// From one idle time of the worker to the next.
void BlockScheduler::RunThreads(Worker& worker) {
  Thread* thread = worker.next;
  for (;;) {
    thread->fiber = &worker.fiber;
    current_thread = thread;
    (*body_)();
    Exit(*thread);
    thread = PickReady();
    if (thread == nullptr || thread->fiber != nullptr) break;
  }
  idle_.push_back(&worker);
  if (thread != nullptr) {
    worker.fiber.SwitchTo(FiberFor(*thread));
  } else {
    if (num_exited_ < num_threads_) ReportStuck("the other threads of the block wait for ever");
    worker.fiber.SwitchTo(main_);
  }
}

Thread* BlockScheduler::PickReady() {
  if (ready_warps_ == 0) return nullptr;
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;
  const uint32_t random = static_cast<uint32_t>(random_ >> 40);
  if ((ready_warps_ >> running_warp_ & 1u) == 0 || (random & 15) == 0) {
    running_warp_ = PickBit(ready_warps_, random >> 4 & 31);
  }
  Warp& warp = warps_[running_warp_];
  const uint32_t lane = PickBit(warp.ready, random >> 9 & 31);
  warp.ready &= ~(1u << lane);
  if (warp.ready == 0) ready_warps_ &= ~(1u << running_warp_);
  return &threads_[running_warp_ * 32 + lane];
}

void BlockScheduler::MakeReady(Warp& warp, uint32_t lanes) {
  warp.ready |= lanes;
  ready_warps_ |= (lanes != 0 ? 1u : 0u) << warp.index;
}

Fiber& BlockScheduler::FiberFor(Thread& next) {
  ++num_switches_;
  if (next.fiber == nullptr) {
    if (idle_.empty()) {
      workers_.push_back(std::make_unique<Worker>(*this, workers_.size()));
      idle_.push_back(workers_.back().get());
    }
    Worker& worker = *idle_.back();
    idle_.pop_back();
    worker.next = &next;
    return worker.fiber;
  }
  current_thread = &next;
  return *next.fiber;
}

void BlockScheduler::Suspend() {
  Thread* self = current_thread;
  Thread* next = PickReady();
  if (next == self) return;
  if (next == nullptr) ReportStuck("all threads of the block wait for ever");
  self->fiber->SwitchTo(FiberFor(*next));
}

void BlockScheduler::Exit(Thread& thread) {
  if (!thread.has_waited_for_previous) Fault("exits without a call of WaitForPrevious()");
  Warp& warp = *thread.warp;
  const uint32_t bit = 1u << thread.lane;
  warp.exited |= bit;
  ++num_exited_;
  for (uint32_t rest = warp.arrived; rest != 0; rest &= rest - 1) {
    if ((warp.masks[std::countr_zero(rest)] & bit) != 0) {
      Fault("exited, but its warp waits for it in a collective");
    }
  }
}

void BlockScheduler::Barrier(const std::source_location& where) {
  if (num_at_barrier_ == 0) {
    barrier_ = where;
  } else if (barrier_.line() != where.line() || std::strcmp(barrier_.file_name(), where.file_name()) != 0) {
    Fault("came to a __syncthreads() other than the one where threads of the block wait");
  }
  Warp& own = *current_thread->warp;
  own.at_barrier |= 1u << current_thread->lane;
  if (++num_at_barrier_ < num_threads_) {
    Suspend();
    return;
  }
  num_at_barrier_ = 0;
  own.at_barrier &= ~(1u << current_thread->lane);  // the last one goes on
  for (uint32_t w = 0; w < num_warps_; ++w) {
    MakeReady(warps_[w], warps_[w].at_barrier);
    warps_[w].at_barrier = 0;
  }
}

void BlockScheduler::Collective(uint32_t mask, const char* name, void* operand, CollectiveBody body) {
  Warp& warp = *current_thread->warp;
  const uint32_t lane = current_thread->lane;
  const uint32_t bit = 1u << lane;
  if ((mask & bit) == 0) Fault("called a warp collective without being in its mask");
  if ((mask & ~warp.lanes) != 0) Fault("called a warp collective whose mask has lanes that the block lacks");
  if ((mask & warp.exited) != 0) Fault("called a warp collective whose mask has lanes that have exited");
  warp.operands[lane] = operand;
  warp.masks[lane] = mask;
  warp.names[lane] = name;
  warp.arrived |= bit;
  if ((warp.arrived & mask) != mask) {
    Suspend();
    return;
  }
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const int other = std::countr_zero(rest);
    if (warp.masks[other] != mask) Fault("met lanes of its warp that wait with another mask");
    if (warp.names[other] != name && std::strcmp(warp.names[other], name) != 0) {
      Fault("met lanes of its warp that wait in another collective");
    }
  }
  warp.arrived &= ~mask;
  body(warp.operands, mask);
  MakeReady(warp, mask & ~bit);
}

void BlockScheduler::MaybeYield() {
  if (num_threads_ - num_exited_ < 2 || Random(4) != 0) return;
  MakeReady(*current_thread->warp, 1u << current_thread->lane);
  running_warp_ = PickBit(ready_warps_, static_cast<uint32_t>(Random(32)));
  Suspend();
}

void BlockBarrier(const std::source_location& where) { BlockScheduler::Get().Barrier(where); }
void MaybeYield() { BlockScheduler::Get().MaybeYield(); }
void Fault(const char* what) { BlockScheduler::Get().Fault(what); }

void WarpCollective(uint32_t mask, const char* name, void* operand, CollectiveBody body) {
  BlockScheduler::Get().Collective(mask, name, operand, body);
}

uint32_t Ballot(const char* name, uint32_t mask, bool predicate) {
  struct Lane {
    bool predicate;
    uint32_t votes;
  } lane{predicate, 0};
  WarpCollective(mask, name, &lane, [](void* const* lanes, uint32_t mask) {
    uint32_t votes = 0;
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      const int i = std::countr_zero(rest);
      votes |= (static_cast<const Lane*>(lanes[i])->predicate ? 1u : 0u) << i;
    }
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      static_cast<Lane*>(lanes[std::countr_zero(rest)])->votes = votes;
    }
  });
  return lane.votes;
}

}  // namespace switchyard::emulation
