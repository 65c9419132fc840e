#include "server/openai/prompt_fields.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

constexpr const char* kPromptForms = "a string, an array of strings, an array of token ids, or an array of those";
// No vocabulary in use has longer tokens: a text beyond context x this is over the context however it is encoded, and
// encoding it would only cost time.
constexpr int64_t kMaxBytesPerToken = 128;

bool CheckTextSize(FieldReader& fields, const std::string& name, const std::string& text, const ModelContext& model) {
  const int64_t context = model.info().max_model_len;
  const int64_t size = static_cast<int64_t>(text.size());
  if (size / kMaxBytesPerToken <= context) return true;
  fields.Fail(name, absl::StrCat("has ", size, " bytes, at least ", size / kMaxBytesPerToken,
                                 " tokens; this model's context is ", context, " tokens: shorten it"));
  fields.SetCode("context_length_exceeded");
  return false;
}

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

// The text of a message's content.
std::string ReadContent(FieldReader& fields, const std::string& name, const json* content, bool may_be_null) {
  if (content == nullptr) {
    if (!may_be_null) fields.Fail(name, "is missing; only an assistant's content may be null");
    return "";
  }
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) {
    fields.FailType(name, "a string or an array of text parts", *content);
    return "";
  }
  std::string text;
  for (size_t i = 0; i < content->size() && fields.ok(); ++i) {
    const json& part = (*content)[i];
    const std::string part_name = absl::StrCat(name, "[", i, "]");
    if (!part.is_object()) {
      fields.FailType(part_name, "an object such as {\"type\": \"text\", \"text\": …}", part);
      break;
    }
    FieldReader reader(part, fields.FullName(part_name) + ".");
    const std::string type = reader.String("type").value_or("");
    if (reader.ok() && type != "text") {
      reader.Fail("type", absl::StrCat("is \"", type.substr(0, 40), "\"; only \"text\" is supported"));
    }
    const auto piece = reader.String("text");
    if (!piece.has_value()) reader.Fail("text", "is missing");
    text += piece.value_or("");
    fields.TakeError(reader);
  }
  return text;
}

ChatMessage ReadMessage(FieldReader& fields, const std::string& name, const json& message) {
  ChatMessage result;
  if (!message.is_object()) {
    fields.FailType(name, "an object with role and content", message);
    return result;
  }
  FieldReader reader(message, fields.FullName(name) + ".");
  const auto role = reader.String("role");
  if (!role.has_value()) reader.Fail("role", "is missing; it is system, developer, user, assistant or tool");
  result.role = role.value_or("");
  const bool known = result.role == "system" || result.role == "developer" || result.role == "user" ||
                     result.role == "assistant" || result.role == "tool";
  if (!known) {
    reader.Fail("role", absl::StrCat("is \"", result.role.substr(0, 40),
                                     "\"; it must be system, developer, user, assistant or tool"));
  }
  for (const char* field : {"tool_calls", "function_call", "audio"}) {
    const json* value = reader.Find(field);
    if (value != nullptr && !value->empty()) reader.Fail(field, "is unsupported in this version; leave it out");
  }
  result.content = ReadContent(reader, "content", reader.Find("content"), result.role == "assistant");
  fields.TakeError(reader);
  return result;
}

}  // namespace

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

std::vector<Prompt> ReadMessages(FieldReader& fields, const ModelContext& model) {
  const json* value = fields.Find("messages");
  if (!fields.ok()) return {};
  if (value == nullptr) {
    fields.Fail("messages", "is missing; it is an array of {\"role\": …, \"content\": …}");
    return {};
  }
  if (!value->is_array() || value->empty()) {
    fields.FailType("messages", "an array of at least one message", *value);
    return {};
  }
  std::vector<ChatMessage> messages;
  size_t total_size = 0;
  for (size_t i = 0; i < value->size() && fields.ok(); ++i) {
    messages.push_back(ReadMessage(fields, absl::StrCat("messages[", i, "]"), (*value)[i]));
    total_size += messages.back().content.size();
    CheckTextSize(fields, absl::StrCat("messages[", i, "]"), messages.back().content, model);
  }
  if (!fields.ok()) return {};
  if (static_cast<int64_t>(total_size) / kMaxBytesPerToken > model.info().max_model_len) {
    fields.Fail("messages", absl::StrCat("have ", total_size, " bytes, more than the context of ",
                                         model.info().max_model_len, " tokens can hold; drop the oldest"));
    return {};
  }
  if (model.tokenizer() == nullptr || model.engine->chat_template() == nullptr) {
    const std::string reason = model.tokenizer() == nullptr
                                   ? "the model has no tokenizer"
                                   : std::string(model.engine->chat_template_status().message());
    fields.Fail("messages", absl::StrCat("cannot be used with this model: ", reason,
                                         "; use /v1/completions, which needs no chat template"));
    return {};
  }
  absl::StatusOr<std::vector<int32_t>> ids = model.engine->chat_template()->Encode(messages, *model.tokenizer());
  if (!ids.ok()) {
    fields.Fail("messages",
                absl::StrCat("do not fit the model's chat template: ", std::string(ids.status().message())));
    return {};
  }
  return {Prompt{.ids = *std::move(ids), .text = ""}};
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
