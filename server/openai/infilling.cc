#include "server/openai/infilling.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "server/openai/prompt_fields.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

struct Names {
  const char* prefix;
  const char* suffix;
  const char* middle;  // null: the suffix comes first, and the prefix is what goes on
};
constexpr Names kNames[] = {
    {"[PREFIX]", "[SUFFIX]", nullptr},                       // Codestral
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},        // StarCoder
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},  // Qwen, CodeGemma
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},  // DeepSeek
    {"▁<PRE>", "▁<SUF>", "▁<MID>"},                          // Code Llama
};

struct Tokens {
  int32_t prefix;
  int32_t suffix;
  std::optional<int32_t> middle;
};

std::optional<int32_t> SpecialToken(const Tokenizer& tokenizer, std::string_view name) {
  const std::vector<int32_t> ids = tokenizer.Encode(name, {.add_special_tokens = false, .parse_special_tokens = true});
  if (ids.size() != 1 || !tokenizer.IsSpecial(ids[0])) return std::nullopt;
  return ids[0];
}

std::optional<Tokens> FindTokens(const Tokenizer& tokenizer) {
  for (const Names& names : kNames) {
    const std::optional<int32_t> prefix = SpecialToken(tokenizer, names.prefix);
    const std::optional<int32_t> suffix = SpecialToken(tokenizer, names.suffix);
    if (!prefix.has_value() || !suffix.has_value()) continue;
    if (names.middle == nullptr) return Tokens{.prefix = *prefix, .suffix = *suffix};
    const std::optional<int32_t> middle = SpecialToken(tokenizer, names.middle);
    if (middle.has_value()) return Tokens{.prefix = *prefix, .suffix = *suffix, .middle = middle};
  }
  return std::nullopt;
}

// Without the space that some tokenizers put before every text: the suffix goes on where something else ended.
std::vector<int32_t> EncodeContinuation(const Tokenizer& tokenizer, const std::string& text) {
  constexpr std::string_view kLead = "\n";
  const Tokenizer::EncodeOptions options = {.add_special_tokens = false};
  const std::vector<int32_t> lead = tokenizer.Encode(kLead, options);
  std::vector<int32_t> both = tokenizer.Encode(absl::StrCat(std::string(kLead), text), options);
  if (both.size() < lead.size() || !std::equal(lead.begin(), lead.end(), both.begin())) {
    return tokenizer.Encode(text, options);  // the text's beginning merged with the lead
  }
  both.erase(both.begin(), both.begin() + static_cast<std::ptrdiff_t>(lead.size()));
  return both;
}

// The first `lead` ids of `prompt` stay in front.
std::vector<int32_t> Arrange(const Tokens& tokens, size_t lead, std::span<const int32_t> prompt,
                             std::span<const int32_t> suffix) {
  std::vector<int32_t> ids(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(lead));
  const auto append = [&ids](int32_t token, std::span<const int32_t> text) {
    ids.push_back(token);
    ids.insert(ids.end(), text.begin(), text.end());
  };
  if (!tokens.middle.has_value()) append(tokens.suffix, suffix);
  append(tokens.prefix, prompt.subspan(lead));
  if (tokens.middle.has_value()) {
    append(tokens.suffix, suffix);
    ids.push_back(*tokens.middle);
  }
  return ids;
}

bool IsOfTexts(const json& prompt) {
  return prompt.is_string() || (prompt.is_array() && !prompt.empty() && prompt.front().is_string());
}

}  // namespace

void ReadSuffix(FieldReader& fields, const ModelContext& model, bool echo, std::vector<Prompt>* prompts) {
  const std::optional<std::string> suffix = fields.String("suffix");
  if (!fields.ok() || !suffix.has_value() || suffix->empty()) return;
  const Tokenizer* tokenizer = model.tokenizer();
  const std::optional<Tokens> tokens = tokenizer == nullptr ? std::nullopt : FindTokens(*tokenizer);
  if (!tokens.has_value()) {
    fields.Fail("suffix",
                "is unsupported by this model: its vocabulary has no tokens for filling in, such as [SUFFIX] and "
                "[PREFIX], or <fim_prefix>, <fim_suffix> and <fim_middle>; put it into the prompt");
    fields.SetCode("unsupported_parameter");
    return;
  }
  const json* prompt = fields.Find("prompt");
  if (prompt == nullptr || !IsOfTexts(*prompt)) {
    return fields.Fail("suffix",
                       "goes with prompts of text only; write the tokens for filling in into the prompt's ids");
  }
  if (echo) return fields.Fail("suffix", "cannot be combined with echo; leave one of them out");
  if (fields.Find("truncate_prompt_tokens") != nullptr) {
    return fields.Fail("suffix", "cannot be combined with truncate_prompt_tokens; send the shortened prompt");
  }
  if (!CheckTextSize(fields, "suffix", *suffix, model)) return;
  const std::vector<int32_t> of_suffix = EncodeContinuation(*tokenizer, *suffix);
  const std::vector<int32_t> always = tokenizer->Encode("", {.add_special_tokens = true});
  for (Prompt& one : *prompts) {
    const bool has_lead = one.ids.size() >= always.size() && std::equal(always.begin(), always.end(), one.ids.begin());
    one.ids = Arrange(*tokens, has_lead ? always.size() : 0, one.ids, of_suffix);
  }
}

}  // namespace switchyard::openai
