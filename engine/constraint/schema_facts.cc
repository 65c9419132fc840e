#include "engine/constraint/schema_facts.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

constexpr std::string_view kAnnotations[] = {
    "title",       "description",      "default",         "examples",     "example",  "deprecated",
    "readOnly",    "writeOnly",        "$schema",         "$id",          "$comment", "$defs",
    "definitions", "contentMediaType", "contentEncoding", "discriminator"};

bool IsAnnotation(std::string_view keyword) {
  return keyword.starts_with("x-") ||
         std::find(std::begin(kAnnotations), std::end(kAnnotations), keyword) != std::end(kAnnotations);
}

// Keywords that Flatten deals with.
bool IsSkipped(const SchemaTerm& term, std::string_view keyword) {
  return ((term.skip & SchemaTerm::kRefs) != 0 && (keyword == "$ref" || keyword == "allOf")) ||
         ((term.skip & SchemaTerm::kAnyOf) != 0 && keyword == "anyOf") ||
         ((term.skip & SchemaTerm::kOneOf) != 0 && keyword == "oneOf");
}

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

// The place of a schema in the whole, as a JSON pointer; empty if it is not below.
std::string PathOf(const SchemaJson& whole, const SchemaJson* wanted, const std::string& path) {
  if (&whole == wanted) return path;
  if (!whole.is_structured()) return "";
  for (auto it = whole.begin(); it != whole.end(); ++it) {
    const std::string step = whole.is_object() ? it.key() : absl::StrCat(it - whole.begin());
    std::string found = PathOf(*it, wanted, absl::StrCat(path, "/", step));
    if (!found.empty()) return found;
  }
  return "";
}

}  // namespace

uint8_t TypeOf(const SchemaJson& value) {
  if (value.is_null()) return kNull;
  if (value.is_boolean()) return kBoolean;
  if (value.is_string()) return kString;
  if (value.is_array()) return kArray;
  if (value.is_object()) return kObject;
  const bool is_whole = value.is_number_integer() || std::trunc(value.get<double>()) == value.get<double>();
  return is_whole ? kInteger : kNumber;
}

std::optional<Decimal> DecimalOf(const SchemaJson& value) {
  if (value.is_number_unsigned()) return Decimal::Of(value.get<uint64_t>());
  if (value.is_number_integer()) return Decimal::Of(value.get<int64_t>());
  if (!value.is_number_float() || !std::isfinite(value.get<double>())) return std::nullopt;
  return Decimal::Of(value.get<double>());
}

void SchemaReader::Fail(const SchemaJson& schema, const std::string& keyword, const std::string& what) {
  if (!budget_->ok()) return;
  const std::string path = PathOf(*root_, &schema, "#");
  budget_->Fail(absl::InvalidArgumentError(
      absl::StrCat(keyword.substr(0, 80), " at ", path.empty() ? "#" : path.substr(0, 200), " ", what)));
}

const SchemaJson* SchemaReader::Resolve(const SchemaJson& schema, const std::string& reference) {
  if (!reference.starts_with("#") || (reference.size() > 1 && reference[1] != '/')) {
    Fail(schema, "$ref",
         absl::StrCat("is \"", reference.substr(0, 80),
                      "\"; only references into the schema itself (#/$defs/name) are "
                      "followed"));
    return nullptr;
  }
  try {
    const SchemaJson::json_pointer pointer(reference.substr(1));
    if (root_->contains(pointer)) return &root_->at(pointer);
  } catch (const SchemaJson::exception&) {  // no JSON pointer
  }
  Fail(schema, "$ref", absl::StrCat("is \"", reference.substr(0, 80), "\", and there is no such place"));
  return nullptr;
}

std::optional<SchemaTerms> SchemaReader::Flatten(const SchemaTerms& terms) {
  SchemaTerms flat;
  bool impossible = false;
  for (const SchemaTerm& term : terms) Flatten(term, 0, &flat, &impossible);
  if (impossible) return std::nullopt;
  return flat;
}

void SchemaReader::Flatten(const SchemaTerm& term, int64_t depth, SchemaTerms* flat, bool* impossible) {
  const SchemaJson& schema = *term.schema;
  if (!budget_->SpendSteps(1 + static_cast<int64_t>(flat->size()))) return;
  if (depth > budget_->limits().max_depth) {
    return Fail(schema, "$ref", absl::StrCat("and allOf lead on more than ", depth - 1, " times; remove the cycle"));
  }
  if (schema.is_boolean()) {
    *impossible = *impossible || !schema.get<bool>();
    return;
  }
  if (!schema.is_object()) return Fail(schema, "the schema", "must be an object, true or false");
  if ((term.skip & SchemaTerm::kRefs) == 0) {
    if (const auto reference = schema.find("$ref"); reference != schema.end()) {
      if (!reference->is_string()) return Fail(schema, "$ref", "must be a string");
      const SchemaJson* target = Resolve(schema, reference->get<std::string>());
      if (target != nullptr) Flatten({.schema = target}, depth + 1, flat, impossible);
    }
    if (const auto all = schema.find("allOf"); all != schema.end()) {
      if (!all->is_array()) return Fail(schema, "allOf", "must be an array of schemas");
      for (const SchemaJson& part : *all) Flatten({.schema = &part}, depth + 1, flat, impossible);
    }
  }
  const SchemaTerm rest = {.schema = term.schema, .skip = static_cast<uint8_t>(term.skip | SchemaTerm::kRefs)};
  bool demands = false;
  for (const auto& [keyword, value] : schema.items())
    demands = demands || !(IsAnnotation(keyword) || IsSkipped(rest, keyword));
  if (demands && std::find(flat->begin(), flat->end(), rest) == flat->end()) flat->push_back(rest);
}

SchemaFacts SchemaReader::Facts(const SchemaTerms& flat) {
  SchemaFacts facts;
  constexpr uint8_t kAll = kNull | kBoolean | kInteger | kNumber | kString | kArray | kObject;
  facts.types = kAll;
  for (const SchemaTerm& term : flat) {
    // In the order of the schema, but what belongs to one object or array in one part.
    const auto find = [&](const char* name) -> const SchemaJson* {
      const auto found = term.schema->find(name);
      return found == term.schema->end() ? nullptr : &*found;
    };
    const SchemaFacts::ObjectPart object = {.properties = find("properties"),
                                            .pattern_properties = find("patternProperties"),
                                            .additional = find("additionalProperties")};
    if (object.properties != nullptr || object.pattern_properties != nullptr || object.additional != nullptr) {
      facts.objects.push_back(object);
    }
    const SchemaFacts::ArrayPart array = {.prefix_items = find("prefixItems"), .items = find("items")};
    if (array.prefix_items != nullptr || array.items != nullptr) facts.arrays.push_back(array);
    for (const auto& [keyword, value] : term.schema->items()) {
      if (budget_->ok() && !IsAnnotation(keyword) && !IsSkipped(term, keyword))
        ReadKeyword(*term.schema, keyword, value, &facts);
    }
  }
  // Without a type the keywords say which one is meant.
  if (facts.types == kAll && !facts.values.has_value()) {
    uint8_t meant = 0;
    if (facts.limits_objects() || facts.min_properties > 0) meant |= kObject;
    if (facts.limits_arrays()) meant |= kArray;
    if (facts.limits_strings()) meant |= kString;
    if (facts.limits_numbers()) meant |= kNumber | kInteger;
    if (meant != 0) facts.types = meant;
  }
  return facts;
}

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
