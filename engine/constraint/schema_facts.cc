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

}  // namespace switchyard
