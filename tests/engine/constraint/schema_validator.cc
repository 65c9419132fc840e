#include "tests/engine/constraint/schema_validator.h"

#include <algorithm>
#include <cmath>
#include <regex>
#include <string>

namespace switchyard {
namespace {

using nlohmann::json;

bool HasType(const json& value, const std::string& type) {
  if (type == "integer") return value.is_number() && std::trunc(value.get<double>()) == value.get<double>();
  if (type == "number") return value.is_number();
  return type == value.type_name();
}

size_t NumCharacters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

bool StringIsValid(const std::string& text, const json& schema) {
  if (NumCharacters(text) < schema.value("minLength", size_t{0})) return false;
  if (NumCharacters(text) > schema.value("maxLength", SIZE_MAX)) return false;
  return !schema.contains("pattern") || std::regex_search(text, std::regex(schema["pattern"].get<std::string>()));
}

bool NumberIsValid(double value, const json& schema) {
  if (schema.contains("minimum") && value < schema["minimum"].get<double>()) return false;
  if (schema.contains("maximum") && value > schema["maximum"].get<double>()) return false;
  if (schema.contains("exclusiveMinimum") && value <= schema["exclusiveMinimum"].get<double>()) return false;
  if (schema.contains("exclusiveMaximum") && value >= schema["exclusiveMaximum"].get<double>()) return false;
  return !schema.contains("multipleOf") || std::fmod(value, schema["multipleOf"].get<double>()) == 0;
}

bool ArrayIsValid(const json& array, const json& schema, const json& root) {
  if (array.size() < schema.value("minItems", size_t{0}) || array.size() > schema.value("maxItems", SIZE_MAX))
    return false;
  const json prefix = schema.value("prefixItems", json::array());
  for (size_t i = 0; i < array.size(); ++i) {
    const json item = i < prefix.size() ? prefix[i] : schema.value("items", json(true));
    if (!IsValid(array[i], item, root)) return false;
  }
  return true;
}

bool ObjectIsValid(const json& object, const json& schema, const json& root) {
  for (const json& name : schema.value("required", json::array())) {
    if (!object.contains(name.get<std::string>())) return false;
  }
  const json properties = schema.value("properties", json::object());
  const json patterns = schema.value("patternProperties", json::object());
  for (const auto& [name, value] : object.items()) {
    bool is_named = properties.contains(name);
    if (is_named && !IsValid(value, properties[name], root)) return false;
    for (const auto& [pattern, expected] : patterns.items()) {
      if (!std::regex_search(name, std::regex(pattern))) continue;
      is_named = true;
      if (!IsValid(value, expected, root)) return false;
    }
    if (!is_named && !IsValid(value, schema.value("additionalProperties", json(true)), root)) return false;
  }
  return true;
}

}  // namespace

bool IsValid(const json& document, const json& schema, const json& root) {
  if (schema.is_boolean()) return schema.get<bool>();
  if (schema.contains("$ref")) {
    const json::json_pointer place(schema["$ref"].get<std::string>().substr(1));
    if (!IsValid(document, root.at(place), root)) return false;
  }
  if (schema.contains("type")) {
    const json types = schema["type"].is_array() ? schema["type"] : json::array({schema["type"]});
    if (std::none_of(types.begin(), types.end(), [&](const json& type) { return HasType(document, type); }))
      return false;
  }
  if (schema.contains("const") && document != schema["const"]) return false;
  if (schema.contains("enum") &&
      std::find(schema["enum"].begin(), schema["enum"].end(), document) == schema["enum"].end()) {
    return false;
  }
  for (const json& part : schema.value("allOf", json::array())) {
    if (!IsValid(document, part, root)) return false;
  }
  for (const char* keyword : {"anyOf", "oneOf"}) {
    if (!schema.contains(keyword)) continue;
    const json& parts = schema[keyword];
    if (std::none_of(parts.begin(), parts.end(), [&](const json& part) { return IsValid(document, part, root); }))
      return false;
  }
  if (document.is_string()) return StringIsValid(document.get<std::string>(), schema);
  if (document.is_number()) return NumberIsValid(document.get<double>(), schema);
  if (document.is_array()) return ArrayIsValid(document, schema, root);
  return !document.is_object() || ObjectIsValid(document, schema, root);
}

}  // namespace switchyard
