// SchemaReader: what each keyword of a schema adds to the demands.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/constraint/schema_facts.h"

namespace switchyard {
namespace {

// A regular expression for a format; every text that it allows is valid, but not every valid text is allowed (no 29
// February, no leap second). nullopt: unknown here.
std::optional<std::string> FormatPattern(std::string_view format) {
  const std::string date =
      "[1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|"
      "2[0-8]))";
  const std::string time =
      "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
  if (format == "date") return date;
  if (format == "time") return time;
  if (format == "date-time") return date + "T" + time;
  if (format == "uuid") return "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
  if (format == "ipv4") {
    const std::string byte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    return absl::StrCat(byte, "(\\.", byte, "){3}");
  }
  if (format == "email") {
    const std::string label = "[A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?";
    return absl::StrCat("[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,16})*@(", label, "\\.)+[A-Za-z]{2,12}");
  }
  return std::nullopt;
}

}  // namespace

uint8_t SchemaReader::ReadTypes(const SchemaJson& schema, const SchemaJson& value) {
  const SchemaJson list = value.is_string() ? SchemaJson::array({value}) : value;
  uint8_t types = 0;
  for (const SchemaJson& name : list.is_array() ? list : SchemaJson::array({nullptr})) {
    const uint8_t type = name == "null"      ? kNull
                         : name == "boolean" ? kBoolean
                         : name == "integer" ? kInteger
                         : name == "number"  ? kNumber | kInteger
                         : name == "string"  ? kString
                         : name == "array"   ? kArray
                         : name == "object"  ? kObject
                                             : 0;
    if (type == 0)
      Fail(schema, "type", "must be null, boolean, integer, number, string, array, object or a list of these");
    types |= type;
  }
  return types;
}

int64_t SchemaReader::Count(const SchemaJson& schema, const std::string& keyword, const SchemaJson& value) {
  constexpr double kMost = 1e9;
  const double number = value.is_number() ? value.get<double>() : -1;
  if (number >= 0 && number <= kMost && std::trunc(number) == number) return static_cast<int64_t>(number);
  Fail(schema, keyword, "must be a whole number from 0 to 1000000000");
  return 0;
}

void SchemaReader::ReadKeyword(const SchemaJson& schema, const std::string& keyword, const SchemaJson& value,
                               SchemaFacts* facts) {
  if (keyword == "type") {
    facts->types &= ReadTypes(schema, value);
    return;
  }
  if (keyword == "nullable") return Fail(schema, keyword, "is OpenAPI's; write \"type\": [\"string\", \"null\"]");
  if (keyword == "enum" || keyword == "const") {
    std::vector<const SchemaJson*> values;
    if (keyword == "const") {
      values.push_back(&value);
    } else if (value.is_array()) {
      for (const SchemaJson& entry : value) values.push_back(&entry);
    } else {
      return Fail(schema, keyword, "must be an array");
    }
    if (facts->values.has_value()) {
      std::erase_if(values, [&](const SchemaJson* entry) {
        return std::none_of(facts->values->begin(), facts->values->end(),
                            [&](const SchemaJson* other) { return *other == *entry; });
      });
    }
    facts->values = std::move(values);
    return;
  }
  if (ReadStringKeyword(schema, keyword, value, facts) || ReadNumberKeyword(schema, keyword, value, facts) ||
      ReadContainerKeyword(schema, keyword, value, facts)) {
    return;
  }
  Fail(schema, keyword, "is unsupported; docs/CONSTRAINTS.md lists the keywords that are");
}

bool SchemaReader::ReadStringKeyword(const SchemaJson& schema, const std::string& keyword, const SchemaJson& value,
                                     SchemaFacts* facts) {
  if (keyword == "minLength") {
    facts->min_length = std::max(facts->min_length, Count(schema, keyword, value));
  } else if (keyword == "maxLength") {
    facts->max_length = std::min(facts->max_length.value_or(INT64_MAX), Count(schema, keyword, value));
  } else if (keyword == "pattern") {
    if (!value.is_string()) Fail(schema, keyword, "must be a string");
    if (value.is_string()) facts->patterns.push_back(value.get<std::string>());
  } else if (keyword == "format") {
    const std::optional<std::string> pattern =
        value.is_string() ? FormatPattern(value.get<std::string>()) : std::nullopt;
    if (pattern.has_value()) facts->formats.push_back(*pattern);
    if (!pattern.has_value()) {
      Fail(schema, keyword,
           absl::StrCat("is ", value.dump().substr(0, 60),
                        "; supported are date, time, date-time, uuid, ipv4 and email: leave it out or use pattern"));
    }
  } else {
    return false;
  }
  return true;
}

bool SchemaReader::ReadNumberKeyword(const SchemaJson& schema, const std::string& keyword, const SchemaJson& value,
                                     SchemaFacts* facts) {
  const bool is_low = keyword == "minimum" || keyword == "exclusiveMinimum";
  const bool is_high = keyword == "maximum" || keyword == "exclusiveMaximum";
  if (!is_low && !is_high && keyword != "multipleOf") return false;
  const std::optional<Decimal> number = DecimalOf(value);
  if (!number.has_value()) {
    Fail(schema, keyword, "must be a number");
  } else if (keyword == "multipleOf") {
    constexpr int64_t kMost = 1000;
    const bool is_whole = value.is_number_integer() && value >= 1 && value <= kMost;
    if (!is_whole) Fail(schema, keyword, "must be a whole number from 1 to 1000 here");
    if (is_whole) facts->divisors.push_back(value.get<int64_t>());
  } else if (is_low) {
    facts->range.RaiseLow({.value = *number, .excluded = keyword == "exclusiveMinimum"});
  } else {
    facts->range.LowerHigh({.value = *number, .excluded = keyword == "exclusiveMaximum"});
  }
  return true;
}

bool SchemaReader::ReadContainerKeyword(const SchemaJson& schema, const std::string& keyword, const SchemaJson& value,
                                        SchemaFacts* facts) {
  if (keyword == "properties" || keyword == "patternProperties") {
    if (!value.is_object()) Fail(schema, keyword, "must be an object of schemas");
  } else if (keyword == "prefixItems") {
    if (!value.is_array()) Fail(schema, keyword, "must be an array of schemas");
  } else if (keyword == "items") {
    if (value.is_array()) Fail(schema, keyword, "is an array of schemas; write prefixItems");
  } else if (keyword == "required") {
    if (!value.is_array()) Fail(schema, keyword, "must be an array of names");
    for (const SchemaJson& name : value.is_array() ? value : SchemaJson::array()) {
      if (!name.is_string()) {
        Fail(schema, keyword, "must be an array of names");
        continue;
      }
      const std::string text = name.get<std::string>();
      if (std::find(facts->required.begin(), facts->required.end(), text) == facts->required.end())
        facts->required.push_back(text);
    }
  } else if (keyword == "minItems") {
    facts->min_items = std::max(facts->min_items, Count(schema, keyword, value));
  } else if (keyword == "maxItems") {
    facts->max_items = std::min(facts->max_items.value_or(INT64_MAX), Count(schema, keyword, value));
  } else if (keyword == "minProperties") {
    facts->min_properties = std::max(facts->min_properties, Count(schema, keyword, value));
  } else if (keyword == "maxProperties") {
    facts->max_properties = std::min(facts->max_properties.value_or(INT64_MAX), Count(schema, keyword, value));
  } else if (keyword == "uniqueItems" || keyword == "unevaluatedProperties" || keyword == "unevaluatedItems") {
    const bool harmless = value == (keyword != "uniqueItems");
    if (!harmless) Fail(schema, keyword, "is unsupported; leave it out");
  } else {
    return keyword == "additionalProperties";
  }
  return true;
}

}  // namespace switchyard
