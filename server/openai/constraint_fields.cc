#include "server/openai/constraint_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// One top-level member of the body, with the members of all objects in the order in which the client wrote them, which
// the parsed body has lost: a schema's properties are generated in that order. Finding a member of such an object takes
// time in its size, so of each no more are kept than the compiler needs to see that they are too many.
ordered_json OrderedMember(std::string_view body, const std::string& name) {
  std::vector<int64_t> counts;  // of members so far, of the object at each depth
  const auto keep = [&](int depth, ordered_json::parse_event_t event, ordered_json& value) {
    const auto level = static_cast<size_t>(depth);
    counts.resize(std::max(counts.size(), level + 2));
    if (event == ordered_json::parse_event_t::object_start) counts[level + 1] = 0;
    if (event != ordered_json::parse_event_t::key) return true;
    if (depth == 1) return value == name;
    return ++counts[level] <= ConstraintLimits().max_members + 1;
  };
  const ordered_json parsed = ordered_json::parse(body, keep, /*allow_exceptions=*/false);
  return parsed.is_object() ? parsed.value(name, ordered_json()) : ordered_json();
}

// The texts of an array; nullopt after a fault.
std::optional<std::vector<std::string>> Texts(FieldReader& fields, const std::string& name, const json& value) {
  std::vector<std::string> texts;
  const bool is_array = value.is_array();
  for (const json& entry : is_array ? value : json::array({nullptr})) {
    if (!entry.is_string()) {
      fields.FailType(name, "an array of strings", value);
      return std::nullopt;
    }
    texts.push_back(entry.get<std::string>());
  }
  return texts;
}

// A schema as an object, or as a text that holds one.
std::string SchemaText(const ordered_json& schema) {
  return schema.is_string() ? schema.get<std::string>() : schema.dump();
}

struct Asked {
  std::string field;
  ConstraintSpec spec;
};

std::optional<Asked> ReadResponseFormat(FieldReader& fields, std::string_view body) {
  const std::string name = "response_format";
  const json* format = fields.Find(name);
  if (format == nullptr) return std::nullopt;
  if (!format->is_object()) {
    fields.FailType(name, "an object", *format);
    return std::nullopt;
  }
  const json type = format->value("type", json());
  if (type == "text") return std::nullopt;
  if (type == "json_object") return Asked{.field = name, .spec = {.kind = ConstraintSpec::Kind::kJsonObject}};
  if (type != "json_schema") {
    fields.Fail(name + ".type", absl::StrCat("must be text, json_object or json_schema, but is ", Describe(type)));
    return std::nullopt;
  }
  const ordered_json ordered = OrderedMember(body, name);
  const ordered_json wrapper = ordered.value("json_schema", ordered_json());
  const ordered_json schema = wrapper.is_object() ? wrapper.value("schema", ordered_json()) : ordered_json();
  if (!schema.is_object() && !schema.is_boolean()) {
    fields.Fail(name + ".json_schema", "must be an object with the member schema, a JSON schema");
    return std::nullopt;
  }
  return Asked{.field = name + ".json_schema",
               .spec = {.kind = ConstraintSpec::Kind::kJsonSchema, .text = schema.dump()}};
}

// guided_json and the like: `value` is the field's, `ordered` gives it in the client's order.
std::optional<Asked> ReadGuided(FieldReader& fields, const std::string& field, std::string_view kind, const json& value,
                                const ordered_json& ordered) {
  Asked asked = {.field = field};
  if (kind == "json") {
    if (!value.is_object() && !value.is_string()) {
      fields.FailType(field, "a JSON schema", value);
      return std::nullopt;
    }
    asked.spec.kind = ConstraintSpec::Kind::kJsonSchema;
    asked.spec.text = SchemaText(ordered);
  } else if (kind == "regex") {
    if (!value.is_string()) {
      fields.FailType(field, "a string", value);
      return std::nullopt;
    }
    asked.spec.kind = ConstraintSpec::Kind::kRegex;
    asked.spec.text = value.get<std::string>();
  } else {
    std::optional<std::vector<std::string>> choices = Texts(fields, field, value);
    if (!choices.has_value()) return std::nullopt;
    asked.spec.kind = ConstraintSpec::Kind::kChoice;
    asked.spec.choices = *std::move(choices);
  }
  return asked;
}

void ReadStructuredOutputs(FieldReader& fields, std::string_view body, std::vector<Asked>* all) {
  const std::string name = "structured_outputs";
  const json* options = fields.Find(name);
  if (options == nullptr) return;
  if (!options->is_object()) return fields.FailType(name, "an object", *options);
  FieldReader nested(*options, name + ".");
  const ordered_json ordered = OrderedMember(body, name);
  for (const char* kind : {"json", "regex", "choice"}) {
    const json* value = nested.Find(kind);
    if (value == nullptr) continue;
    if (auto asked = ReadGuided(fields, absl::StrCat(name, ".", kind), kind, *value, ordered[kind])) {
      all->push_back(*std::move(asked));
    }
  }
  if (nested.Bool("json_object").value_or(false)) all->push_back({.field = name + ".json_object"});
  for (const char* kind : {"grammar", "structural_tag"}) {
    if (nested.Find(kind) != nullptr) nested.Fail(kind, "is unsupported; use json, regex or choice");
  }
  fields.TakeError(nested);
}

void ReadLists(FieldReader& fields, const ModelContext& model, GenerationPlan* plan) {
  if (const json* ids = fields.Find("allowed_token_ids"); ids != nullptr) {
    plan->request.rules.allowed_ids = fields.Ints("allowed_token_ids", *ids, 0, model.info().spec.vocab_size - 1);
    if (fields.ok() && ids->empty()) fields.Fail("allowed_token_ids", "is empty, which allows nothing; leave it out");
  }
  const json* words = fields.Find("bad_words");
  if (words == nullptr) return;
  const std::optional<std::vector<std::string>> texts = Texts(fields, "bad_words", *words);
  if (!texts.has_value() || texts->empty()) return;
  if (model.engine->constraints() == nullptr) {
    return fields.Fail("bad_words", "needs a tokenizer, and this model has none; use logit_bias with -100");
  }
  absl::StatusOr<std::shared_ptr<ForbiddenTexts>> forbidden = model.engine->constraints()->Forbid(*texts);
  if (!forbidden.ok()) return fields.Fail("bad_words", absl::StrCat("is refused: ", forbidden.status().message()));
  plan->request.rules.forbidden = *std::move(forbidden);
}

}  // namespace

void ReadConstraints(FieldReader& fields, const ModelContext& model, GenerationPlan* plan) {
  ReadLists(fields, model, plan);
  std::vector<Asked> all;
  if (auto asked = ReadResponseFormat(fields, model.body)) all.push_back(*std::move(asked));
  for (const char* kind : {"json", "regex", "choice"}) {
    const std::string name = absl::StrCat("guided_", kind);
    const json* value = fields.Find(name);
    if (value == nullptr) continue;
    if (auto asked = ReadGuided(fields, name, kind, *value, OrderedMember(model.body, name))) {
      all.push_back(*std::move(asked));
    }
  }
  ReadStructuredOutputs(fields, model.body, &all);
  if (!plan->tools.forced.empty()) {
    const ToolCallList list = plan->tools.format == ToolCallFormat::kHermes ? ToolCallList::kBare
                              : plan->tools.max_calls > 1                   ? ToolCallList::kMany
                                                                            : ToolCallList::kOne;
    absl::StatusOr<ConstraintSpec> calls = ToolCallConstraint(plan->tools.forced, list);
    if (!calls.ok()) return fields.Fail("tools", absl::StrCat("is refused: ", calls.status().message()));
    all.push_back({.field = "tools", .spec = *std::move(calls)});
  }
  if (!fields.ok() || all.empty()) return;
  if (all.size() > 1) {
    return fields.Fail(all[1].field, absl::StrCat("cannot be combined with ", all[0].field, "; send one of them"));
  }
  ConstraintSpec& spec = all[0].spec;
  if (model.engine->constraints() == nullptr) {
    return fields.Fail(all[0].field, "needs a tokenizer, and this model has none");
  }
  spec.leading_space_is_dropped = !plan->request.text_continues_prompt && model.tokenizer()->drops_leading_space();
  absl::StatusOr<std::shared_ptr<Grammar>> grammar = model.engine->constraints()->Compile(spec);
  if (!grammar.ok()) return fields.Fail(all[0].field, absl::StrCat("is refused: ", grammar.status().message()));
  plan->request.rules.grammar = *std::move(grammar);
}

}  // namespace switchyard::openai
