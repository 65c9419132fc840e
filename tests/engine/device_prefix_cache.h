// The prefix cache on GPUs: one body for emulated and real ones.
#pragma once

#include <string>

namespace switchyard {

// Sends a golden checkpoint's prompt twice alone and twice at once, on one rank and two, with recorded steps and
// without; expects the same greedy tokens behind a cached beginning, log-probabilities within rounding, and all pages
// free at the end. Rank i is on GPU i % num_gpus.
void ExpectSameBehindACachedBeginning(const std::string& source_dir, int num_gpus);

}  // namespace switchyard
