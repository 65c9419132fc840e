// `switchyard score`: log-probabilities of given texts.
#pragma once

#include "server/settings/settings.h"

namespace switchyard {

// For each input line {"tokens": [...]} or {"text": "..."} one output line, in the input's order:
//   {"tokens": [...], "logprobs": [...], "top1": [...], "perplexity": x}
// logprobs[i] is log p(tokens[i+1] | tokens[..i]): one less than there are tokens; top1[i] is the most likely id after
// tokens[..i]: one per token; perplexity is exp(-mean(logprobs)), null for a single token. Floats have 9 significant
// digits. Empty lines are skipped. A line that cannot be scored is refused, by number, before any is. Returns the exit
// code.
int RunScore(const Settings& settings);

}  // namespace switchyard
