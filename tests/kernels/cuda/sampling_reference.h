// Runs sampling on the device and compares it with the CPU's.
#pragma once

#include <vector>

#include "kernels/sampling.h"

namespace switchyard::cuda {

// Sums and exponentials of the two devices round differently.
constexpr float kLogProbTolerance = 1e-5f;

// logits [rows, vocab], with vocab = logits.size() / rows.size(). The scratch memory begins with arbitrary contents,
// and the logits are checked to be unchanged.
std::vector<SampledToken> DeviceSample(const std::vector<float>& logits, const std::vector<SamplingRow>& rows);
std::vector<ScoredToken> DeviceScore(const std::vector<float>& logits, const std::vector<ScoringRow>& rows);

void ExpectSameTop(const std::vector<TokenLogProb>& actual, const std::vector<TokenLogProb>& expected);

// Every row as SampleRow answers it. Another token is accepted only where the random number lies within rounding of the
// border between the two.
void ExpectSameAsCpu(const std::vector<float>& logits, const std::vector<SamplingRow>& rows);

}  // namespace switchyard::cuda
