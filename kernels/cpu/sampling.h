// Draws or scores the next token of one row of logits, exactly as kernels/sampling.h says; shared by all CPU backends.
// Stateless: rows may be drawn from any threads at once, each its own.
#pragma once

#include <span>

#include "kernels/sampling.h"

namespace switchyard {

// `logits` [vocab] is scratch on the way and holds its old values on return. Ids in `row` outside the vocabulary are
// programmers' errors. +infinity counts as NaN: no distribution has it.
SampledToken SampleRow(std::span<float> logits, const SamplingRow& row);

ScoredToken ScoreRow(std::span<const float> logits, const ScoringRow& row);

}  // namespace switchyard
