#include "server/openai/tool_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/text/tool_call_format.h"
#include "server/openai/json_text.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

constexpr size_t kMaxNameBytes = 64;

bool IsName(const std::string& name) {
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && std::all_of(name.begin(), name.end(), allowed);
}

// The function's name.
std::string ReadTool(FieldReader& fields, const std::string& place, const json& tool) {
  if (!tool.is_object()) {
    fields.FailType(place, "an object such as {\"type\": \"function\", \"function\": {…}}", tool);
    return "";
  }
  FieldReader reader(tool, place + ".");
  const std::string type = reader.String("type").value_or("");
  if (reader.ok() && type != "function") {
    reader.Fail("type", absl::StrCat("is \"", type.substr(0, 40), "\"; only \"function\" is supported"));
  }
  std::string name;
  const json* function = reader.Find("function");
  if (function == nullptr || !function->is_object()) {
    reader.Fail("function", "must be an object with a name");
  } else {
    FieldReader inner(*function, place + ".function.");
    name = inner.String("name").value_or("");
    if (!IsName(name)) inner.Fail("name", absl::StrCat("must be 1 to ", kMaxNameBytes, " letters, digits, _, - or ."));
    const json* parameters = inner.Find("parameters");
    if (parameters != nullptr && !parameters->is_object()) inner.FailType("parameters", "a JSON schema", *parameters);
    inner.String("description");
    reader.TakeError(inner);
  }
  fields.TakeError(reader);
  return name;
}

// The name in {"type": "function", "function": {"name": …}}.
std::string ChosenName(FieldReader& fields, const json& choice) {
  const auto function = choice.is_object() ? choice.find("function") : choice.end();
  if (function == choice.end() || !function->is_object() || !function->contains("name") ||
      !(*function)["name"].is_string()) {
    fields.FailType("tool_choice",
                    "\"none\", \"auto\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": …}}",
                    choice);
    return "";
  }
  return (*function)["name"].get<std::string>();
}

// Of a tool that ReadTool took, as JSON.
ToolFunction FunctionOf(const std::string& tool) {
  const nlohmann::ordered_json function = nlohmann::ordered_json::parse(tool)["function"];
  const bool has_parameters = function.contains("parameters") && function["parameters"].is_object();
  return {.name = function["name"].get<std::string>(),
          .parameters = has_parameters ? function["parameters"].dump() : ""};
}

}  // namespace

ToolUse ReadTools(FieldReader& fields, const std::string& body, ToolCallFormat format) {
  ToolUse use = {.format = format};
  const json* tools = fields.Find("tools");
  const json* choice = fields.Find("tool_choice");
  const bool parallel = fields.Bool("parallel_tool_calls").value_or(true);
  if (tools != nullptr && !tools->is_array()) fields.FailType("tools", "an array of functions", *tools);
  if (!fields.ok()) return use;
  const bool has_tools = tools != nullptr && !tools->empty();
  if (!has_tools) {
    if (choice != nullptr && *choice != "none" && *choice != "auto") {
      fields.Fail("tool_choice", "needs \"tools\" to choose from; send them, or leave it out");
    }
    return use;
  }
  if (tools->size() > kMaxTools) {
    fields.Fail("tools", absl::StrCat("has ", tools->size(), " tools; the limit is ", kMaxTools, " per request"));
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < tools->size() && fields.ok(); ++i) {
    names.push_back(ReadTool(fields, absl::StrCat("tools[", i, "]"), (*tools)[i]));
  }
  if (!fields.ok() || (choice != nullptr && *choice == "none")) return use;
  use.tools = RawElements(body, "tools");
  if (use.tools.size() != tools->size()) {  // the key is written with escapes: keys in sorted order then
    use.tools.clear();
    for (const json& tool : *tools) use.tools.push_back(tool.dump());
  }
  use.parses_calls = true;
  if (!parallel) use.max_calls = 1;
  if (choice == nullptr || *choice == "auto") return use;
  if (*choice != "required") {
    const std::string name = ChosenName(fields, *choice);
    if (!fields.ok()) return use;
    const auto chosen = std::find(names.begin(), names.end(), name);
    if (chosen == names.end()) {
      fields.Fail("tool_choice", absl::StrCat("names \"", name.substr(0, 80), "\", which is none of tools"));
      return use;
    }
    use.max_calls = 1;
    use.forced = {FunctionOf(use.tools[static_cast<size_t>(chosen - names.begin())])};
  } else {
    for (const std::string& tool : use.tools) use.forced.push_back(FunctionOf(tool));
  }
  // Of Hermes' calls each has a marker of its own: one can be forced.
  const bool is_hermes = format == ToolCallFormat::kHermes;
  if (is_hermes) use.max_calls = 1;
  use.forced_start = absl::StrCat(std::string(MarkerOf(format)), is_hermes ? "\n" : " ");
  return use;
}

void ApplyTools(const ModelContext& model, GenerationPlan* plan) {
  if (!plan->tools.parses_calls) return;
  const Tokenizer& tokenizer = *model.tokenizer();
  const std::vector<int32_t> marker =
      tokenizer.Encode(MarkerOf(plan->tools.format), {.add_special_tokens = false, .parse_special_tokens = true});
  const bool is_special = marker.size() == 1 && tokenizer.IsSpecial(marker[0]);
  if (is_special && plan->request.skip_special_tokens) {
    plan->drops_special_names = true;
    plan->request.skip_special_tokens = false;
  }
  if (plan->tools.forced_start.empty()) return;
  const std::vector<int32_t> start =
      tokenizer.Encode(plan->tools.forced_start, {.add_special_tokens = false, .parse_special_tokens = true});
  for (Prompt& prompt : plan->prompts) prompt.ids.insert(prompt.ids.end(), start.begin(), start.end());
}

}  // namespace switchyard::openai
