// Which of a prompt's candidates are returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/request.h"

namespace switchyard::openai {

// `updates` are whole answers, `candidates` to each prompt; returns the indices of the `n` best of each prompt, prompt
// by prompt. Best is, as OpenAI defines best_of, the highest log-probability per token; candidates without tokens come
// last, and equal ones in their order. With n == candidates all are returned, in their order.
std::vector<size_t> BestCandidates(std::span<const RequestUpdate> updates, int32_t candidates, int32_t n);

}  // namespace switchyard::openai
