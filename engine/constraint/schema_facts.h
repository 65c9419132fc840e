// What a JSON schema, or several at once, demand of a value: keywords collected from $ref, allOf and the schemas
// themselves.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/compile_budget.h"
#include "engine/constraint/number_range.h"

namespace switchyard {

using SchemaJson = nlohmann::ordered_json;

// A schema that a value has to satisfy, perhaps without some of its keywords, which were dealt with already.
struct SchemaTerm {
  enum Skip : uint8_t { kRefs = 1, kAnyOf = 2, kOneOf = 4 };
  const SchemaJson* schema = nullptr;
  uint8_t skip = 0;
  auto operator<=>(const SchemaTerm&) const = default;  // NOLINT(modernize-use-nullptr): not in newer releases
};
// All of them hold.
using SchemaTerms = std::vector<SchemaTerm>;

enum JsonType : uint8_t {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kNumber = 8,  // that need not be an integer
  kString = 16,
  kArray = 32,
  kObject = 64,
};

struct SchemaFacts {
  struct ObjectPart {
    const SchemaJson* properties = nullptr;
    const SchemaJson* pattern_properties = nullptr;
    const SchemaJson* additional = nullptr;
  };
  struct ArrayPart {
    const SchemaJson* prefix_items = nullptr;
    const SchemaJson* items = nullptr;
  };

  uint8_t types = 0;                                     // bits of JsonType
  std::optional<std::vector<const SchemaJson*>> values;  // enum, const
  std::vector<std::string> patterns;                     // JSON Schema's: to be searched for
  std::vector<std::string> formats;                      // regular expressions of whole strings
  int64_t min_length = 0;
  std::optional<int64_t> max_length;
  NumberRange range;
  std::vector<int64_t> divisors;
  std::vector<ObjectPart> objects;
  std::vector<std::string> required;
  int64_t min_properties = 0;
  std::optional<int64_t> max_properties;
  std::vector<ArrayPart> arrays;
  int64_t min_items = 0;
  std::optional<int64_t> max_items;

  bool limits_strings() const {
    return !patterns.empty() || !formats.empty() || min_length > 0 || max_length.has_value();
  }
  bool limits_numbers() const { return !range.unbounded() || !divisors.empty(); }
  bool limits_objects() const { return !objects.empty() || !required.empty() || max_properties.has_value(); }
  bool limits_arrays() const { return !arrays.empty() || min_items > 0 || max_items.has_value(); }
};

// Not thread-safe. Faults go to the budget: INVALID_ARGUMENT names the keyword and the place in the schema.
class SchemaReader {
 public:
  // Both are borrowed.
  SchemaReader(const SchemaJson* root, CompileBudget* budget) : root_(root), budget_(budget) {}

  // The same demands without $ref and allOf, and without terms that demand nothing; nullopt: some term is `false`.
  std::optional<SchemaTerms> Flatten(const SchemaTerms& terms);
  // Of flattened terms without anyOf and oneOf.
  SchemaFacts Facts(const SchemaTerms& flat);
  // INVALID_ARGUMENT "KEYWORD at #/the/schema WHAT".
  void Fail(const SchemaJson& schema, const std::string& keyword, const std::string& what);

 private:
  void Flatten(const SchemaTerm& term, int64_t depth, SchemaTerms* flat, bool* impossible);
  const SchemaJson* Resolve(const SchemaJson& schema, const std::string& reference);
  void ReadKeyword(const SchemaJson& schema, const std::string& keyword, const SchemaJson& value, SchemaFacts* facts);
  bool ReadStringKeyword(const SchemaJson& schema, const std::string& keyword, const SchemaJson& value,
                         SchemaFacts* facts);
  bool ReadNumberKeyword(const SchemaJson& schema, const std::string& keyword, const SchemaJson& value,
                         SchemaFacts* facts);
  bool ReadContainerKeyword(const SchemaJson& schema, const std::string& keyword, const SchemaJson& value,
                            SchemaFacts* facts);
  uint8_t ReadTypes(const SchemaJson& schema, const SchemaJson& value);
  // A whole number, 0 or more.
  int64_t Count(const SchemaJson& schema, const std::string& keyword, const SchemaJson& value);

  const SchemaJson* const root_;
  CompileBudget* const budget_;
};

uint8_t TypeOf(const SchemaJson& value);
std::optional<Decimal> DecimalOf(const SchemaJson& value);

}  // namespace switchyard
