#include "engine/text/tokenizer_json/component.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/text/tokenizer_json/unicode.h"

namespace switchyard::tokenizer_json {
namespace {

constexpr size_t kMaxComponents = 64;

absl::Status Visit(const std::string& place, const nlohmann::json& json, const char* list, const AddComponent& add,
                   size_t* num_components) {
  if (json.is_null()) return absl::OkStatus();
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": must be an object or null, not ", JsonText(json)));
  }
  if (++*num_components > kMaxComponents) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": is one of more than ", kMaxComponents, " components"));
  }
  JsonFields fields(place, json);
  const std::string type = RequiredString(&fields, "type");
  if (!fields.status().ok()) return fields.status();
  if (type != "Sequence") {
    absl::Status status = add(type, &fields);
    return status.ok() ? fields.status() : status;
  }
  const nlohmann::json* const members = fields.Find(list);
  if (members == nullptr || !members->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": ", list, " must be a list"));
  }
  for (size_t i = 0; i < members->size(); ++i) {
    const std::string member_place = absl::StrCat(place, ".", list, "[", i, "]");
    absl::Status status = Visit(member_place, (*members)[i], list, add, num_components);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ForEachComponent(const std::string& place, const nlohmann::json& json, const char* list,
                              const AddComponent& add) {
  size_t num_components = 0;
  return Visit(place, json, list, add, &num_components);
}

absl::Status UnsupportedComponent(const JsonFields& fields, absl::string_view kind, const std::string& type,
                                  absl::string_view supported) {
  return absl::UnimplementedError(
      absl::StrCat(fields.place(), ": the ", kind, " ", QuoteName(type), " is not supported; ", supported, " are"));
}

std::string RequiredString(JsonFields* fields, const char* name) {
  const std::optional<std::string> value = fields->String(name);
  if (!value) fields->Fail(name, "is missing; it must be a string");
  return value.value_or("");
}

char32_t RequiredCharacter(JsonFields* fields, const char* name) {
  const std::string value = RequiredString(fields, name);
  if (value.empty() || CharacterAt(value, 0).size != value.size()) {
    fields->Fail(name, "must be a string of one character");
    return U' ';
  }
  return CharacterAt(value, 0).code;
}

}  // namespace switchyard::tokenizer_json
