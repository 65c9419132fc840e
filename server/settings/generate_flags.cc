#include "server/settings/generate_flags.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>

namespace switchyard {
namespace {

Flag OptionalFloatFlag(std::string name, std::string help, FloatRange range, std::optional<float>* target) {
  return FloatFlag(
      std::move(name), std::move(help), range, [target](float value) { *target = value; },
      [target] { return *target; });
}

}  // namespace

void AddGenerateFlags(SettingsDraft* draft, std::vector<Flag>* flags) {
  GenerateSettings& generate = draft->settings.generate;
  const char* prompt = "Prompt";
  flags->push_back(
      In(prompt, TextFlag("prompt", "TEXT", "the text to continue; this or --prompt-tokens", &draft->prompt)));
  flags->push_back(
      In(prompt, TextFlag("prompt-tokens", "I,J,...", "token ids, used as they are", &draft->prompt_tokens)));
  flags->push_back(
      In(prompt, SwitchFlag("chat", "--prompt is a user's message: apply the chat template", &generate.chat)));

  const char* sampling = "Sampling";
  flags->push_back(
      In(sampling, IntFlagOf("max-tokens", "tokens to generate at most",
                             {.min = 1, .max = std::numeric_limits<int32_t>::max()}, &generate.max_tokens)));
  float* temperature = &generate.temperature;
  flags->push_back(In(sampling, FloatFlag(
                                    "temperature", "0 always takes the most likely token", {.max = 2},
                                    [temperature](float value) { *temperature = value; },
                                    [temperature]() { return std::optional<float>(*temperature); })));
  flags->push_back(In(sampling, OptionalIntFlag("top-k", "draw among the k most likely; 0: off; default: the model's",
                                                {.max = std::numeric_limits<int32_t>::max()}, &generate.top_k)));
  flags->push_back(In(sampling, OptionalFloatFlag("top-p",
                                                  "draw among the most likely with this total probability; "
                                                  "default: the model's",
                                                  {.min_excluded = true}, &generate.top_p)));
  flags->push_back(In(sampling, OptionalFloatFlag("min-p",
                                                  "draw among those with this share of the most likely's "
                                                  "probability; default 0: off",
                                                  {}, &generate.min_p)));
  flags->push_back(In(sampling, OptionalFloatFlag("repetition-penalty",
                                                  "above 1 discourages tokens seen before; "
                                                  "default: the model's",
                                                  {.max = 10, .min_excluded = true}, &generate.repetition_penalty)));
  flags->push_back(
      In(sampling, OptionalIntFlag("seed", "same seed, same answer; default: from the clock", {}, &generate.seed)));
  flags->push_back(
      In(sampling, SwitchFlag("ignore-eos", "go on after the end-of-sequence token", &generate.ignore_eos)));
  flags->push_back(
      In(sampling, RepeatableFlag("stop", "TEXT", "end before this text; may be repeated", &generate.stop)));
  flags->push_back(In("Output", SwitchFlag("json", "one JSON object instead of the text as it comes", &generate.json)));
}

}  // namespace switchyard
