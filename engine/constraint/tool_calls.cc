#include "engine/constraint/tool_calls.h"

#include "absl/strings/str_cat.h"
#include "engine/constraint/json_schema.h"
#include "engine/constraint/schema_facts.h"

namespace switchyard {
namespace {

// Makes "#/a" say "#PLACE/a", since the schema moves there.
void MoveReferences(const std::string& place, SchemaJson* schema) {
  if (!schema->is_structured()) return;
  for (auto it = schema->begin(); it != schema->end(); ++it) {
    const bool is_reference = schema->is_object() && it.key() == "$ref" && it->is_string();
    if (is_reference && it->get_ref<const std::string&>().starts_with('#')) {
      *it = absl::StrCat("#", place, it->get<std::string>().substr(1));
    } else {
      MoveReferences(place, &*it);
    }
  }
}

}  // namespace

absl::StatusOr<ConstraintSpec> ToolCallConstraint(std::span<const ToolFunction> functions, ToolCallList list) {
  if (functions.empty()) return absl::InvalidArgumentError("there are no functions to call");
  SchemaJson definitions = SchemaJson::object();
  SchemaJson calls = SchemaJson::array();
  for (const ToolFunction& function : functions) {
    CompileBudget budget((ConstraintLimits()));
    const std::string text = function.parameters.empty() ? R"({"type":"object"})" : function.parameters;
    const std::unique_ptr<SchemaJson> parameters = ParseJsonSchema(text, &budget);
    if (parameters == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("the parameters of function '", function.name, "': ", budget.status().message()));
    }
    const std::string key = absl::StrCat("f", definitions.size());
    MoveReferences(absl::StrCat("/$defs/", key), parameters.get());
    calls.push_back(
        {{"type", "object"},
         {"properties", {{"name", {{"const", function.name}}}, {"arguments", {{"$ref", "#/$defs/" + key}}}}},
         {"required", {"name", "arguments"}}});
    definitions[key] = *parameters;
  }
  SchemaJson schema = {{"$defs", definitions}};
  if (list == ToolCallList::kBare) {
    schema["anyOf"] = calls;
  } else {
    schema.update({{"type", "array"}, {"items", {{"anyOf", calls}}}, {"minItems", 1}});
    if (list == ToolCallList::kOne) schema["maxItems"] = 1;
  }
  return ConstraintSpec{.kind = ConstraintSpec::Kind::kJsonSchema, .text = schema.dump()};
}

}  // namespace switchyard
