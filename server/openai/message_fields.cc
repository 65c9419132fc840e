#include "server/openai/message_fields.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/request_validation.h"
#include "server/openai/prompt_fields.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

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

std::vector<ToolCall> ReadToolCalls(FieldReader& fields, const json& value) {
  std::vector<ToolCall> calls;
  if (!value.is_array()) fields.FailType("tool_calls", "an array of calls", value);
  for (size_t i = 0; i < value.size() && fields.ok(); ++i) {
    const std::string name = absl::StrCat("tool_calls[", i, "]");
    const json* function = value[i].is_object() && value[i].contains("function") ? &value[i]["function"] : nullptr;
    if (function == nullptr || !function->is_object()) {
      fields.FailType(name, "an object with id and function", value[i]);
      break;
    }
    FieldReader reader(value[i], fields.FullName(name) + ".");
    FieldReader inner(*function, fields.FullName(name) + ".function.");
    ToolCall call{.id = reader.String("id").value_or(""), .name = inner.String("name").value_or(""), .arguments = "{}"};
    if (call.name.empty()) inner.Fail("name", "is missing");
    const json* arguments = inner.Find("arguments");
    if (arguments != nullptr) {
      call.arguments = arguments->is_string() ? arguments->get<std::string>() : arguments->dump();
    }
    reader.TakeError(inner);
    fields.TakeError(reader);
    calls.push_back(std::move(call));
  }
  return calls;
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
  for (const char* field : {"function_call", "audio"}) {
    const json* value = reader.Find(field);
    if (value != nullptr && !value->empty()) reader.Fail(field, "is unsupported in this version; leave it out");
  }
  const bool answers = result.role == "assistant";
  if (const json* calls = reader.Find("tool_calls"); calls != nullptr && answers) {
    result.tool_calls = ReadToolCalls(reader, *calls);
  }
  result.name = reader.String("name").value_or("");
  result.tool_call_id = reader.String("tool_call_id").value_or("");
  if (answers) result.reasoning_content = reader.String("reasoning_content").value_or("");
  result.content = ReadContent(reader, "content", reader.Find("content"), answers);
  fields.TakeError(reader);
  return result;
}

void ReadTemplateFields(FieldReader& fields, Chat* chat) {
  chat->continue_final_message = fields.Bool("continue_final_message").value_or(false);
  chat->add_generation_prompt = fields.Bool("add_generation_prompt").value_or(!chat->continue_final_message);
  if (chat->continue_final_message && chat->add_generation_prompt) {
    fields.Fail("continue_final_message", "excludes add_generation_prompt; set that to false");
  }
  if (chat->continue_final_message && chat->messages.back().role != "assistant") {
    fields.Fail("continue_final_message", "needs an assistant's message at the end, which the answer continues");
  }
  if (const json* arguments = fields.Find("chat_template_kwargs"); arguments != nullptr) {
    if (!arguments->is_object()) fields.FailType("chat_template_kwargs", "an object", *arguments);
    chat->template_arguments = arguments->dump();
  }
  const json* documents = fields.Find("documents");
  if (documents == nullptr) return;
  if (!documents->is_array()) fields.FailType("documents", "an array of objects", *documents);
  for (size_t i = 0; i < documents->size() && fields.ok(); ++i) {
    const json& document = (*documents)[i];
    if (!document.is_object()) fields.FailType(absl::StrCat("documents[", i, "]"), "an object", document);
    chat->documents.push_back(document.dump());
  }
}

}  // namespace

std::vector<Prompt> ReadMessages(FieldReader& fields, const ModelContext& model, const ToolUse& tools) {
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
  if (static_cast<int64_t>(total_size) / kMaxPromptBytesPerToken > model.info().max_model_len) {
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
  Chat chat{.messages = std::move(messages), .tools = tools.tools};
  ReadTemplateFields(fields, &chat);
  if (!fields.ok()) return {};
  absl::StatusOr<std::vector<int32_t>> ids = model.engine->chat_template()->Encode(chat, *model.tokenizer());
  if (!ids.ok()) {
    fields.Fail("messages",
                absl::StrCat("do not fit the model's chat template: ", std::string(ids.status().message())));
    return {};
  }
  return {Prompt{.ids = *std::move(ids), .text = ""}};
}

}  // namespace switchyard::openai
