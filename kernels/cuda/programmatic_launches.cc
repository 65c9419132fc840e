#include "kernels/cuda/programmatic_launches.h"

#include <atomic>

namespace switchyard::cuda {
namespace {

std::atomic<bool> programmatic_launches = true;

}  // namespace

void SetProgrammaticLaunches(bool on) { programmatic_launches.store(on, std::memory_order_relaxed); }

bool ProgrammaticLaunches() { return programmatic_launches.load(std::memory_order_relaxed); }

}  // namespace switchyard::cuda
