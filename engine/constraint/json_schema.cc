#include "engine/constraint/json_schema.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/constraint/schema_rules.h"

namespace switchyard {

std::unique_ptr<SchemaJson> ParseJsonSchema(std::string_view text, CompileBudget* budget) {
  const auto fail = [budget](const std::string& message) {
    budget->Fail(absl::InvalidArgumentError(message));
    return nullptr;
  };
  const ConstraintLimits& limits = budget->limits();
  if (text.size() > static_cast<size_t>(limits.max_bytes)) {
    return fail(absl::StrCat("the schema has ", text.size(), " bytes; the limit is ", limits.max_bytes));
  }
  bool too_deep = false;
  bool too_wide = false;
  std::vector<std::set<std::string>> names;  // of the members of the object at each depth
  std::string twice;
  const auto watch = [&](int depth, SchemaJson::parse_event_t event, SchemaJson& value) {
    const auto level = static_cast<size_t>(depth);
    too_deep = too_deep || depth > limits.max_depth;
    if (too_deep || too_wide) return false;
    names.resize(std::max(names.size(), level + 2));
    if (event == SchemaJson::parse_event_t::object_start) names[level + 1].clear();
    if (event != SchemaJson::parse_event_t::key) return true;
    if (!names[level].insert(value.get<std::string>()).second) twice = value.get<std::string>();
    too_wide = names[level].size() > static_cast<size_t>(limits.max_members);
    return !too_wide;
  };
  auto schema = std::make_unique<SchemaJson>(SchemaJson::parse(text, watch, /*allow_exceptions=*/false));
  if (too_deep) return fail(absl::StrCat("the schema is nested more than ", limits.max_depth, " deep"));
  if (too_wide) return fail(absl::StrCat("the schema has an object of more than ", limits.max_members, " members"));
  if (schema->is_discarded()) return fail("the schema is no JSON");
  if (!twice.empty())
    return fail(absl::StrCat("the schema has the name \"", twice.substr(0, 80), "\" twice in one object"));
  return schema;
}

int32_t AddJsonSchema(std::string_view text, Automaton* automaton) {
  const std::unique_ptr<SchemaJson> schema = ParseJsonSchema(text, &automaton->budget());
  if (schema == nullptr) return automaton->AddRule();
  return SchemaRules(schema.get(), automaton).Add();
}

}  // namespace switchyard
