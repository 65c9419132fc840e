// The part of kernel_bench that times attention.
#pragma once

#include "bench/kernel_timing.h"
#include "kernels/backend.h"

namespace switchyard {

// Decoding tokens with contexts of several lengths, in every type of KV cache, and chunks of prompts.
void BenchAttention(Backend& backend, const KernelLimits& limits);

}  // namespace switchyard
