#include "server/openai/request_fields.h"

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

// The values of an unsupported field that ask for nothing.
enum class Harmless { kEmpty, kFalse, kOne, kNone, kText };

struct Unsupported {
  const char* name;
  Harmless harmless;
  const char* remedy;
};

constexpr Unsupported kEverywhere[] = {
    {"guided_grammar", Harmless::kEmpty, "use guided_json, guided_regex or guided_choice"},
    {"logits_processors", Harmless::kEmpty, "leave it out"},
    {"use_beam_search", Harmless::kFalse, "leave it out"},
    {"length_penalty", Harmless::kOne, "leave it out"},
    {"prompt_embeds", Harmless::kEmpty, "send prompt"},
    {"kv_transfer_params", Harmless::kEmpty, "leave it out"},
    {"thinking_token_budget", Harmless::kEmpty, "leave it out"},
};
constexpr Unsupported kOfCompletions[] = {
    {"messages", Harmless::kEmpty, "send them to /v1/chat/completions"},
};
constexpr Unsupported kOfChat[] = {
    {"functions", Harmless::kEmpty, "send tools"},
    {"function_call", Harmless::kNone, "send tool_choice"},
    {"add_special_tokens", Harmless::kFalse, "leave it out: the chat template writes them"},
    {"echo", Harmless::kFalse, "use /v1/completions"},
    {"chat_template", Harmless::kEmpty, "leave it out: the checkpoint's template is used"},
    {"modalities", Harmless::kText, "leave it out or send [\"text\"]"},
    {"audio", Harmless::kEmpty, "leave it out"},
    {"web_search_options", Harmless::kEmpty, "leave it out"},
    {"prompt", Harmless::kEmpty, "send messages, or use /v1/completions"},
};

// Whatever they say, the generated tokens are the same.
constexpr const char* kWithoutEffect[] = {"store",      "metadata",         "service_tier",
                                          "verbosity",  "prompt_cache_key", "safety_identifier",
                                          "prediction", "reasoning_effort", "prompt_cache_retention"};

bool AsksForNothing(const json& value, Harmless harmless) {
  switch (harmless) {
    case Harmless::kEmpty:
      return (value.is_string() && value.get_ref<const std::string&>().empty()) ||
             (value.is_structured() && value.empty());
    case Harmless::kFalse:
      return value == false;
    case Harmless::kOne:
      return value == 1;
    case Harmless::kNone:
      return value == "none";
    case Harmless::kText:
      return value == json::array({"text"}) ||
             (value.is_object() && value.size() == 1 && value.contains("type") && value["type"] == "text");
  }
  return false;
}

template <size_t kCount>
void Refuse(FieldReader& fields, const Unsupported (&list)[kCount]) {
  for (const Unsupported& entry : list) {
    const json* value = fields.Find(entry.name);
    if (!fields.ok() || value == nullptr || AsksForNothing(*value, entry.harmless)) continue;
    fields.Fail(entry.name,
                absl::StrCat("is unsupported in this version (it is ", Describe(*value), "); ", entry.remedy));
    fields.SetCode("unsupported_parameter");
  }
}

}  // namespace

void RefuseUnsupported(FieldReader& fields, Endpoint endpoint) {
  if (!fields.ok()) return;
  Refuse(fields, kEverywhere);
  if (endpoint == Endpoint::kCompletions) {
    Refuse(fields, kOfCompletions);
  } else {
    Refuse(fields, kOfChat);
  }
}

void NoteWithoutEffect(FieldReader& fields, GenerationPlan* plan) {
  for (const char* name : kWithoutEffect) {
    if (fields.Find(name) != nullptr) plan->without_effect.push_back(name);
  }
  fields.Find("user");  // for OpenAI's abuse monitoring; every client library may send it
  for (const std::string& name : fields.UnreadNames()) plan->without_effect.push_back(name + " (unknown)");
}

void CheckModelName(FieldReader& fields, const std::string& served_name) {
  const std::optional<std::string> name = fields.String("model");
  if (!fields.ok() || !name.has_value() || *name == served_name) return;
  fields.FailNotFound("model", absl::StrCat("\"", name->substr(0, 200), "\" is not served here; this server has \"",
                                            served_name, "\""));
}

std::string ResponseId(FieldReader& fields, const std::string& prefix, const std::string& fallback) {
  const std::string asked = fields.String("request_id").value_or("");
  bool usable = !asked.empty() && asked.size() <= 128;
  for (char c : asked) usable = usable && absl::ascii_isgraph(static_cast<unsigned char>(c));
  if (!asked.empty() && !usable) {
    fields.Fail("request_id", "must be 1 to 128 printable ASCII characters without spaces");
  }
  return prefix + (usable ? asked : fallback);
}

}  // namespace switchyard::openai
