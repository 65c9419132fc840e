#include "kernels/shared_loops.h"

#include "kernels/check.h"
#include "kernels/cpu/loop.h"

namespace switchyard {

SharedLoops::SharedLoops(int max_backends) : max_backends_(max_backends), loops_(new Loop[max_backends]) {}
SharedLoops::~SharedLoops() = default;

bool SharedLoops::Help() {
  bool helped = false;
  const int num_loops = num_loops_.load(std::memory_order_relaxed);
  for (int i = 0; i < num_loops; ++i) helped |= loops_[i].Join();
  return helped;
}

Loop& SharedLoops::Add() {
  const int i = num_loops_.fetch_add(1, std::memory_order_relaxed);
  CHECK_LT(i, max_backends_);
  return loops_[i];
}

}  // namespace switchyard
