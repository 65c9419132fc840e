// What the executable's symbol table tells of a kernel: its name and its static shared memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tests/emulation/kernel_launch.h"

namespace switchyard::emulation {

// "switchyard::cuda::RmsNormKernel<…>, launched in kernels/cuda/norm.cu:60".
std::string Describe(const KernelLaunch& launch);

// The `__shared__` variables of one launch on the calling OS thread. Without a symbol table (a stripped executable)
// there are none.
class StaticSharedMemory {
 public:
  // Fills those that device functions declare with 0xFF bytes; not under AddressSanitizer, where they look like any
  // static variable.
  explicit StaticSharedMemory(const void* kernel);
  // Fills those that the kernel itself declares with 0xFF bytes, as if a block began.
  void Poison() const;

 private:
  std::vector<std::span<char>> variables_;
};

}  // namespace switchyard::emulation
