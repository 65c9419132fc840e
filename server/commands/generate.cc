#include "server/commands/generate.h"

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/commands/startup.h"
#include "server/commands/update_queue.h"

namespace switchyard {
namespace {

absl::StatusOr<std::vector<int32_t>> EncodePrompt(const GenerateSettings& settings, const Engine& engine) {
  if (settings.prompt_tokens.has_value()) return *settings.prompt_tokens;
  if (engine.tokenizer() == nullptr) {
    return absl::InvalidArgumentError(
        "--prompt needs a tokenizer, and the model's directory has none: give token ids with --prompt-tokens");
  }
  if (!settings.chat) return engine.tokenizer()->Encode(*settings.prompt, {});
  if (engine.chat_template() == nullptr) return engine.chat_template_status();
  return engine.chat_template()->Encode({.messages = {{.role = "user", .content = *settings.prompt}}},
                                        *engine.tokenizer());
}

absl::StatusOr<GenerationRequest> MakeRequest(const GenerateSettings& settings, const Engine& engine) {
  absl::StatusOr<std::vector<int32_t>> prompt = EncodePrompt(settings, engine);
  if (!prompt.ok()) return prompt.status();
  const GenerationDefaults& defaults = engine.model_info().defaults;
  GenerationRequest request;
  request.id = "generate";
  request.prompt = *std::move(prompt);
  request.sampling.temperature = settings.temperature;
  request.sampling.top_k = settings.top_k.value_or(defaults.top_k.value_or(request.sampling.top_k));
  request.sampling.top_p = settings.top_p.value_or(defaults.top_p.value_or(request.sampling.top_p));
  request.sampling.min_p = settings.min_p.value_or(request.sampling.min_p);
  request.sampling.repetition_penalty =
      settings.repetition_penalty.value_or(defaults.repetition_penalty.value_or(request.sampling.repetition_penalty));
  request.sampling.seed = settings.seed;
  request.stop.max_tokens = settings.max_tokens;
  request.stop.strings = settings.stop;
  request.stop.ignore_eos = settings.ignore_eos;
  request.detokenize = engine.tokenizer() != nullptr;
  request.text_continues_prompt = !settings.chat;
  return request;
}

std::string ToJson(const std::string& text, const std::vector<int32_t>& tokens, const RequestUpdate& last) {
  nlohmann::ordered_json object;
  object["text"] = text;
  object["tokens"] = tokens;
  object["finish_reason"] = Name(*last.finish);
  object["usage"] = {{"prompt_tokens", last.usage.prompt_tokens},
                     {"completion_tokens", last.usage.completion_tokens},
                     {"cached_tokens", last.usage.cached_tokens}};
  return object.dump();
}

}  // namespace

int RunGenerate(const Settings& settings) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(settings.engine, ShowProgress());
  if (!engine.ok()) return Report(engine.status());
  LogWarnings(**engine);
  absl::StatusOr<GenerationRequest> request = MakeRequest(settings.generate, **engine);
  if (!request.ok()) return Report(request.status());

  UpdateQueue updates;
  const bool has_text = request->detokenize;
  const absl::Status submitted =
      (*engine)->Submit(*std::move(request), [&updates](RequestUpdate update) { updates.Push(0, std::move(update)); });
  if (!submitted.ok()) return Report(submitted);

  std::string text;
  std::vector<int32_t> tokens;
  while (true) {
    const RequestUpdate update = updates.Pop().update;
    std::string shown = update.text;
    text += update.text;
    for (const GeneratedToken& token : update.tokens) {
      if (!has_text) absl::StrAppend(&shown, tokens.empty() ? "" : " ", token.id);
      tokens.push_back(token.id);
    }
    if (!settings.generate.json) std::cout << shown << std::flush;
    if (!update.finish.has_value()) continue;
    if (settings.generate.json) std::cout << ToJson(text, tokens, update);
    std::cout << std::endl;
    if (update.finish == FinishReason::kStop || update.finish == FinishReason::kLength) return kExitOk;
    Report(update.status);
    return kExitFailed;
  }
}

}  // namespace switchyard
