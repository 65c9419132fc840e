#include "server/openai/prompt_fields.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/request_validation.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

constexpr const char* kPromptForms = "a string, an array of strings, an array of token ids, or an array of those";
Prompt FromText(FieldReader& fields, const std::string& name, const std::string& text, const ModelContext& model,
                bool add_special_tokens, bool with_text) {
  Prompt prompt;
  if (model.tokenizer() == nullptr) {
    fields.Fail(name, "is a text, and this model has no tokenizer; send an array of token ids");
    return prompt;
  }
  if (text.empty()) {
    fields.Fail(name, "is empty; a prompt needs at least one character or token");
    return prompt;
  }
  if (!CheckTextSize(fields, name, text, model)) return prompt;
  prompt.ids =
      model.tokenizer()->Encode(text, {.add_special_tokens = add_special_tokens, .parse_special_tokens = true});
  if (prompt.ids.empty()) fields.Fail(name, "encodes to no token; a prompt needs at least one");
  if (with_text) prompt.text = text;
  return prompt;
}

Prompt FromIds(FieldReader& fields, const std::string& name, const json& ids, const ModelContext& model, bool with_text,
               bool skip_special_tokens) {
  Prompt prompt;
  if (ids.empty()) {
    fields.Fail(name, "is empty; a prompt needs at least one character or token");
    return prompt;
  }
  prompt.ids = fields.Ints(name, ids, 0, model.info().spec.vocab_size - 1);
  if (fields.ok() && with_text && model.tokenizer() != nullptr) {
    prompt.text = model.tokenizer()->Decode(prompt.ids, skip_special_tokens);
  }
  return prompt;
}

}  // namespace

bool CheckTextSize(FieldReader& fields, const std::string& name, const std::string& text, const ModelContext& model) {
  const int64_t context = model.info().max_model_len;
  const int64_t size = static_cast<int64_t>(text.size());
  if (size / kMaxPromptBytesPerToken <= context) return true;
  fields.Fail(name, absl::StrCat("has ", size, " bytes, at least ", size / kMaxPromptBytesPerToken,
                                 " tokens; this model's context is ", context, " tokens: shorten it"));
  fields.SetCode("context_length_exceeded");
  return false;
}

std::vector<Prompt> ReadPrompts(FieldReader& fields, const ModelContext& model, bool with_text,
                                bool skip_special_tokens) {
  const bool add_special_tokens = fields.Bool("add_special_tokens").value_or(true);
  std::vector<Prompt> prompts;
  const json* value = fields.Find("prompt");
  if (!fields.ok()) return prompts;
  if (value == nullptr) {
    fields.Fail("prompt", absl::StrCat("is missing; it is ", kPromptForms));
  } else if (value->is_string()) {
    prompts.push_back(
        FromText(fields, "prompt", value->get_ref<const std::string&>(), model, add_special_tokens, with_text));
  } else if (!value->is_array()) {
    fields.FailType("prompt", kPromptForms, *value);
  } else if (value->empty() || value->front().is_number()) {
    prompts.push_back(FromIds(fields, "prompt", *value, model, with_text, skip_special_tokens));
  } else if (value->size() > static_cast<size_t>(model.limits->max_choices)) {
    fields.Fail("prompt", absl::StrCat("has ", value->size(), " prompts; the limit is ", model.limits->max_choices,
                                       " per request: send several requests"));
  } else {
    for (size_t i = 0; i < value->size() && fields.ok(); ++i) {
      const json& entry = (*value)[i];
      const std::string name = absl::StrCat("prompt[", i, "]");
      if (entry.type() != value->front().type() || !(entry.is_string() || entry.is_array())) {
        fields.FailType(name, "like the others, a string or an array of token ids", entry);
      } else if (entry.is_string()) {
        prompts.push_back(
            FromText(fields, name, entry.get_ref<const std::string&>(), model, add_special_tokens, with_text));
      } else {
        prompts.push_back(FromIds(fields, name, entry, model, with_text, skip_special_tokens));
      }
    }
  }
  return prompts;
}

void TruncatePrompts(FieldReader& fields, std::vector<Prompt>* prompts) {
  const auto keep = fields.Int("truncate_prompt_tokens", 1, std::numeric_limits<int32_t>::max());
  if (!keep.has_value()) return;
  for (Prompt& prompt : *prompts) {
    const int64_t excess = static_cast<int64_t>(prompt.ids.size()) - *keep;
    if (excess > 0) prompt.ids.erase(prompt.ids.begin(), prompt.ids.begin() + excess);
  }
}

}  // namespace switchyard::openai
