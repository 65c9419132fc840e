#include "engine/text/jinja_chat_template.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/text/jinja/json.h"
#include "engine/text/jinja/text.h"

namespace switchyard {
namespace {

using jinja::Value;

bool IsSystem(const ChatMessage& message) { return message.role == "system" || message.role == "developer"; }

// nullopt: there is no system message at the start, or no user message behind it.
std::optional<std::vector<ChatMessage>> FoldSystem(const std::vector<ChatMessage>& messages) {
  std::string system;
  size_t first = 0;
  for (; first < messages.size() && IsSystem(messages[first]); ++first) {
    absl::StrAppend(&system, first == 0 ? "" : "\n\n", messages[first].content);
  }
  if (first == 0 || first == messages.size() || messages[first].role != "user") return std::nullopt;
  std::vector<ChatMessage> folded(messages.begin() + static_cast<ptrdiff_t>(first), messages.end());
  folded[0].content = absl::StrCat(system, "\n\n", folded[0].content);
  return folded;
}

// `text` up to the end of the last message's content, as transformers cuts it.
absl::StatusOr<std::string> CutBehind(const std::string& text, const std::string& content) {
  const std::string_view left = jinja::StripLeft(content);
  const std::string_view stripped = jinja::StripRight(left);
  const size_t found = stripped.empty() ? std::string::npos : text.rfind(stripped);
  if (found == std::string::npos) {
    return absl::InvalidArgumentError(
        "continue_final_message needs a last message whose content the template writes, and it does not (it may be "
        "empty, or the template leaves it out); use add_generation_prompt");
  }
  const bool whole = content.size() == left.size() && text.compare(found, left.size(), left) == 0;
  return text.substr(0, found + (whole ? left.size() : stripped.size()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> JinjaChatTemplate::Create(const TokenizerConfig& config,
                                                                        const Tokenizer& tokenizer) {
  const auto parse = [](const std::string& source) -> absl::StatusOr<Source> {
    absl::StatusOr<jinja::Template> parsed = jinja::Template::Parse(source);
    if (!parsed.ok()) return parsed.status();
    return Source{.parsed = *std::move(parsed), .names_developer = source.find("developer") != std::string::npos};
  };
  absl::StatusOr<Source> plain = parse(*config.chat_template);
  if (!plain.ok()) return plain.status();
  std::optional<Source> with_tools;
  if (config.tool_chat_template) {
    absl::StatusOr<Source> parsed = parse(*config.tool_chat_template);
    if (!parsed.ok()) return parsed.status();
    with_tools = *std::move(parsed);
  }
  return std::unique_ptr<ChatTemplate>(
      new JinjaChatTemplate(*std::move(plain), std::move(with_tools), config, tokenizer));
}

JinjaChatTemplate::JinjaChatTemplate(Source plain, std::optional<Source> with_tools, const TokenizerConfig& config,
                                     const Tokenizer& tokenizer)
    : plain_(std::move(plain)), with_tools_(std::move(with_tools)), special_names_(tokenizer) {
  if (config.bos_token) special_tokens_.emplace_back("bos_token", Value(*config.bos_token));
  if (config.eos_token) special_tokens_.emplace_back("eos_token", Value(*config.eos_token));
  special_tokens_.emplace_back("unk_token", Value(config.unk_token));
  const std::string sources = absl::StrCat(*config.chat_template, config.tool_chat_template.value_or(""));
  const auto writes = [&sources](ToolCallFormat format) { return sources.find(MarkerOf(format)) != std::string::npos; };
  if (writes(ToolCallFormat::kHermes) && !writes(ToolCallFormat::kMistral)) tool_call_format_ = ToolCallFormat::kHermes;
}

Value JinjaChatTemplate::Guarded(const Value& value) const {
  if (value.is_string()) return Value(special_names_.Guard(value.string()));
  if (value.is_list()) {
    std::vector<Value> items;
    for (const Value& item : value.list()) items.push_back(Guarded(item));
    return jinja::MakeList(std::move(items));
  }
  if (!value.is_dict()) return value;
  std::vector<std::pair<std::string, Value>> entries;
  for (const auto& [key, item] : value.dict().entries) entries.emplace_back(special_names_.Guard(key), Guarded(item));
  return jinja::MakeDict(std::move(entries));
}

absl::StatusOr<Value> JinjaChatTemplate::ParseGuarded(const char* what, const std::string& json) const {
  absl::StatusOr<Value> value = jinja::ParseJson(json);
  if (value.ok() && value->is_dict()) return Guarded(*value);
  return absl::InvalidArgumentError(absl::StrCat(what, " must be a JSON object",
                                                 value.ok() ? "" : absl::StrCat(" (", value.status().message(), ")")));
}

absl::StatusOr<Value> JinjaChatTemplate::ParseAll(const char* what, const std::vector<std::string>& texts) const {
  if (texts.empty()) return Value(jinja::None{});
  std::vector<Value> values;
  for (const std::string& text : texts) {
    absl::StatusOr<Value> value = ParseGuarded(what, text);
    if (!value.ok()) return value.status();
    values.push_back(*std::move(value));
  }
  return jinja::MakeList(std::move(values));
}

Value JinjaChatTemplate::MessageValue(const ChatMessage& message, bool names_developer) const {
  const auto text = [this](const std::string& plain) { return Value(special_names_.Guard(plain)); };
  std::vector<std::pair<std::string, Value>> fields;
  const bool renamed = message.role == "developer" && !names_developer;
  fields.emplace_back("role", renamed ? Value(std::string("system")) : text(message.role));
  const bool only_calls = message.content.empty() && !message.tool_calls.empty();
  fields.emplace_back("content", only_calls ? Value(jinja::None{}) : text(message.content));
  if (!message.reasoning_content.empty()) fields.emplace_back("reasoning_content", text(message.reasoning_content));
  if (!message.name.empty()) fields.emplace_back("name", text(message.name));
  if (!message.tool_call_id.empty()) fields.emplace_back("tool_call_id", text(message.tool_call_id));
  if (message.tool_calls.empty()) return jinja::MakeDict(std::move(fields));
  std::vector<Value> calls;
  for (const ToolCall& call : message.tool_calls) {
    // Templates expect the arguments as an object; what is no JSON object stays text.
    const absl::StatusOr<Value> arguments = ParseGuarded("arguments", call.arguments);
    calls.push_back(jinja::MakeDict(
        {{"id", text(call.id)},
         {"type", Value(std::string("function"))},
         {"function", jinja::MakeDict({{"name", text(call.name)},
                                       {"arguments", arguments.ok() ? *arguments : text(call.arguments)}})}}));
  }
  fields.emplace_back("tool_calls", jinja::MakeList(std::move(calls)));
  return jinja::MakeDict(std::move(fields));
}

absl::StatusOr<JinjaChatTemplate::Variables> JinjaChatTemplate::VariablesOf(const Chat& chat,
                                                                            const std::vector<ChatMessage>& messages,
                                                                            bool names_developer) const {
  Variables variables = special_tokens_;
  if (!chat.template_arguments.empty()) {
    const absl::StatusOr<Value> arguments = ParseGuarded("chat_template_kwargs", chat.template_arguments);
    if (!arguments.ok()) return arguments.status();
    for (const auto& [name, value] : arguments->dict().entries) variables.emplace_back(name, value);
  }
  std::vector<Value> values;
  for (const ChatMessage& message : messages) values.push_back(MessageValue(message, names_developer));
  variables.emplace_back("messages", jinja::MakeList(std::move(values)));
  absl::StatusOr<Value> tools = ParseAll("a tool", chat.tools);
  if (!tools.ok()) return tools.status();
  variables.emplace_back("tools", *std::move(tools));
  absl::StatusOr<Value> documents = ParseAll("a document", chat.documents);
  if (!documents.ok()) return documents.status();
  variables.emplace_back("documents", *std::move(documents));
  variables.emplace_back("add_generation_prompt", Value(chat.add_generation_prompt));
  return variables;
}

absl::StatusOr<std::string> JinjaChatTemplate::Render(const Source& source, const Chat& chat,
                                                      const std::vector<ChatMessage>& messages) const {
  absl::StatusOr<Variables> variables = VariablesOf(chat, messages, source.names_developer);
  if (!variables.ok()) return variables.status();
  absl::StatusOr<std::string> text = source.parsed.Render(*variables, {.now = absl::Now(), .limits = {}});
  if (!text.ok() || !chat.continue_final_message) return text;
  return CutBehind(*text, special_names_.Guard(messages.back().content));
}

absl::StatusOr<std::vector<int32_t>> JinjaChatTemplate::Encode(const Chat& chat, const Tokenizer& tokenizer) const {
  if (chat.messages.empty()) return absl::InvalidArgumentError("messages is empty; a chat needs at least one message");
  if (chat.continue_final_message && chat.add_generation_prompt) {
    return absl::InvalidArgumentError(
        "continue_final_message and add_generation_prompt exclude each other; set add_generation_prompt to false");
  }
  const Source& source = with_tools_ && !chat.tools.empty() ? *with_tools_ : plain_;
  absl::StatusOr<std::string> text = Render(source, chat, chat.messages);
  if (!text.ok()) {
    if (const auto folded = FoldSystem(chat.messages)) {
      absl::StatusOr<std::string> retried = Render(source, chat, *folded);
      if (retried.ok()) text = std::move(retried);
    }
  }
  if (!text.ok()) return absl::InvalidArgumentError(text.status().message());
  return special_names_.Encode(*text, tokenizer);
}

}  // namespace switchyard
