// Products with 4-bit and 8-bit weights on the CPU, with activations in float32 and in 8 bits.
#pragma once

#include "bench/kernel_timing.h"

namespace switchyard {

// Prints a line for every format, kind of activations, layer of a model of hidden 1024, intermediate 3584 and 8 experts
// of which 2 are taken, and number of rows.
void BenchQuantized(int threads, const KernelLimits& limits);

}  // namespace switchyard
