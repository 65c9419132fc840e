// Whether kernels may start before the one ahead of them in their stream has ended (dependency.cuh).
#pragma once

namespace switchyard::cuda {

// Of the whole process, from the next launch on; what a graph holds stays as it was recorded. For measurements beside
// one another; on at first.
void SetProgrammaticLaunches(bool on);

bool ProgrammaticLaunches();

}  // namespace switchyard::cuda
