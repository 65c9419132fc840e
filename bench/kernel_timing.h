// Timing of CPU kernels beside the limits of the machine.
#pragma once

#include <functional>
#include <string>

#include "kernels/backend.h"

namespace switchyard {

// Measured in the same process (limits.h).
struct KernelLimits {
  double bytes_per_second = 0;
  double flops_per_second = 0;
};

// Of the fastest of up to 50 runs within some tenths of a second.
double BestSeconds(const std::function<void()>& work);

// A line: name, seconds, bytes that must be read and floating-point operations, and both as parts of the limits.
void PrintKernel(const std::string& name, double seconds, double bytes, double flops, const KernelLimits& limits);

// Activations in [-0.5, 0.5], about evenly spread.
Tensor FilledTensor(Backend& backend, Shape shape);

}  // namespace switchyard
