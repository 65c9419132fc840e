#include "engine/constraint/schema_rules.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/constraint/characters.h"
#include "engine/constraint/regex.h"

namespace switchyard {
namespace {

SchemaTerms Without(const SchemaTerms& flat, size_t index, SchemaTerm::Skip keyword) {
  SchemaTerms rest = flat;
  rest[index].skip |= keyword;
  return rest;
}

}  // namespace

SchemaRules::SchemaRules(const SchemaJson* root, Automaton* automaton)
    : root_(root), automaton_(automaton), budget_(automaton->budget()), reader_(root, &budget_), json_(automaton) {}

int32_t SchemaRules::Add() {
  const int32_t root = RuleOf({{.schema = root_}});
  while (!work_.empty() && budget_.ok()) {
    const auto [rule, terms] = std::move(work_.back());
    work_.pop_back();
    Build(rule, terms);
  }
  return root;
}

int32_t SchemaRules::RuleOf(const SchemaTerms& terms) {
  std::optional<SchemaTerms> flat = reader_.Flatten(terms);
  if (!flat.has_value()) return automaton_->AddRule();  // without a final state: no value
  if (flat->empty()) return json_.Any();
  const auto [place, is_new] = rules_.try_emplace(*flat, 0);
  if (is_new) {
    place->second = automaton_->AddRule();
    work_.emplace_back(place->second, *std::move(flat));
  }
  return place->second;
}

void SchemaRules::Build(int32_t rule, const SchemaTerms& flat) {
  const int32_t from = automaton_->start(rule);
  const int32_t to = automaton_->AddState();
  if (!budget_.ok()) return;
  automaton_->SetFinal(to);
  if (BuildAlternatives(flat, from, to)) return;
  const SchemaFacts facts = reader_.Facts(flat);
  if (!budget_.ok()) return;
  if (facts.values.has_value()) return BuildValues(flat, facts, from, to);
  BuildTypes(flat, facts, from, to);
}

bool SchemaRules::BuildAlternatives(const SchemaTerms& flat, int32_t from, int32_t to) {
  for (size_t i = 0; i < flat.size(); ++i) {
    for (const auto& [keyword, skip] :
         {std::pair("anyOf", SchemaTerm::kAnyOf), std::pair("oneOf", SchemaTerm::kOneOf)}) {
      if ((flat[i].skip & skip) != 0) continue;
      const auto found = flat[i].schema->find(keyword);
      if (found == flat[i].schema->end()) continue;
      if (!found->is_array() || found->empty()) {
        reader_.Fail(*flat[i].schema, keyword, "must be an array of schemas");
        return true;
      }
      for (const SchemaJson& alternative : *found) {
        SchemaTerms terms = Without(flat, i, skip);
        terms.push_back({.schema = &alternative});
        automaton_->AddCall(from, RuleOf(terms), to);
      }
      return true;
    }
  }
  return false;
}

void SchemaRules::BuildTypes(const SchemaTerms& flat, const SchemaFacts& facts, int32_t from, int32_t to) {
  if ((facts.types & kNull) != 0) automaton_->AddEmpty(automaton_->AddText(from, "null"), to);
  if ((facts.types & kBoolean) != 0) {
    automaton_->AddEmpty(automaton_->AddText(from, "true"), to);
    automaton_->AddEmpty(automaton_->AddText(from, "false"), to);
  }
  if ((facts.types & (kInteger | kNumber)) != 0) BuildNumber(facts, from, to);
  if ((facts.types & kString) != 0) BuildString(facts, from, to);
  if ((facts.types & kArray) != 0) BuildArray(facts, from, to);
  if ((facts.types & kObject) != 0) BuildObject(flat, facts, from, to);
}

ByteDfa SchemaRules::MatchesPattern(const std::string& pattern) {
  return CompileRegex(pattern, RegexScope::kSearch, TextForm::kJsonString, &budget_);
}

ByteDfa SchemaRules::StringContent(const SchemaFacts& facts) {
  std::vector<ByteDfa> parts;
  for (const std::string& pattern : facts.patterns) parts.push_back(MatchesPattern(pattern));
  for (const std::string& format : facts.formats) {
    parts.push_back(CompileRegex(format, RegexScope::kWhole, TextForm::kJsonString, &budget_));
  }
  if (parts.empty() || facts.min_length > 0 || facts.max_length.has_value()) {
    parts.push_back(CompileStringLengths(facts.min_length, facts.max_length, &budget_));
  }
  ByteDfa content = std::move(parts.front());
  for (size_t i = 1; i < parts.size(); ++i) content = Intersect(content, parts[i], &budget_);
  return content;
}

void SchemaRules::BuildString(const SchemaFacts& facts, int32_t from, int32_t to) {
  if (!facts.patterns.empty() || !facts.formats.empty()) {
    json_.AddQuoted(StringContent(facts), from, to);
  } else if (facts.limits_strings()) {
    if (facts.max_length.value_or(INT64_MAX) >= facts.min_length) {
      json_.AddString(facts.min_length, facts.max_length, from, to);
    }
  } else {
    automaton_->AddCall(from, json_.String(), to);
  }
}

void SchemaRules::BuildNumber(const SchemaFacts& facts, int32_t from, int32_t to) {
  const bool fractions = (facts.types & kNumber) != 0;
  if (!facts.limits_numbers()) {
    automaton_->AddCall(from, fractions ? json_.Number() : json_.Integer(), to);
    return;
  }
  // A multiple of a whole number is whole.
  ByteDfa numbers = CompileNumberRange(facts.range, fractions && facts.divisors.empty(), &budget_);
  for (const int64_t divisor : facts.divisors)
    numbers = Intersect(numbers, CompileMultiples(divisor, &budget_), &budget_);
  Embed(numbers, from, to, automaton_);
}

bool SchemaRules::Satisfies(const SchemaJson& value, const SchemaFacts& facts, const ByteDfa& strings) const {
  const uint8_t type = TypeOf(value);
  if ((type & facts.types) == 0) return false;
  if (type == kString) {
    return !facts.limits_strings() ||
           strings.Accepts(Spell(value.get_ref<const std::string&>(), TextForm::kJsonString));
  }
  if (type != kInteger && type != kNumber) return true;
  const std::optional<Decimal> number = DecimalOf(value);
  return number.has_value() && facts.range.Contains(*number) &&
         std::all_of(facts.divisors.begin(), facts.divisors.end(), [&](int64_t divisor) {
           return type == kInteger && std::fmod(value.get<double>(), static_cast<double>(divisor)) == 0;
         });
}

void SchemaRules::BuildValues(const SchemaTerms& flat, const SchemaFacts& facts, int32_t from, int32_t to) {
  const ByteDfa strings = facts.limits_strings() ? StringContent(facts) : ByteDfa();
  std::vector<std::string> texts;
  for (const SchemaJson* value : *facts.values) {
    if (value->is_structured() && (facts.limits_objects() || facts.limits_arrays() || facts.min_properties > 0)) {
      return reader_.Fail(*flat.front().schema, "enum or const",
                          "with an object or array cannot be combined with keywords for its parts; leave those out");
    }
    if (!budget_.ok()) return;
    if (Satisfies(*value, facts, strings)) texts.push_back(value->dump());
  }
  Embed(CompileTexts(texts, &budget_), from, to, automaton_);
}

void SchemaRules::BuildArray(const SchemaFacts& facts, int32_t from, int32_t to) {
  if (!facts.limits_arrays()) {
    automaton_->AddCall(from, json_.Array(), to);
    return;
  }
  int64_t num_prefixes = 0;
  for (const SchemaFacts::ArrayPart& part : facts.arrays) {
    if (part.prefix_items != nullptr)
      num_prefixes = std::max(num_prefixes, static_cast<int64_t>(part.prefix_items->size()));
  }
  const auto rule_of_item = [&](int64_t index) {
    SchemaTerms terms;
    for (const SchemaFacts::ArrayPart& part : facts.arrays) {
      const bool in_prefix = part.prefix_items != nullptr && index < static_cast<int64_t>(part.prefix_items->size());
      const SchemaJson* schema = in_prefix ? &(*part.prefix_items)[static_cast<size_t>(index)] : part.items;
      if (schema != nullptr) terms.push_back({.schema = schema});
    }
    return RuleOf(terms);
  };
  const int64_t max_items = facts.max_items.value_or(INT64_MAX);
  if (facts.min_items > max_items) return;
  const int32_t open = automaton_->AddState();
  automaton_->AddByte(from, '[', open);
  if (facts.min_items == 0) automaton_->AddByte(open, ']', to);
  int32_t before = open;  // the next item
  for (int64_t count = 0; count < max_items && budget_.ok(); ++count) {
    const int32_t behind = automaton_->AddState();
    const int32_t rule = rule_of_item(count);
    automaton_->AddCall(before, rule, behind);
    if (count + 1 >= facts.min_items) automaton_->AddByte(behind, ']', to);
    if (count + 1 == max_items) return;
    before = json_.AddSeparator(behind, ',');
    // From here on all items are alike, and there may be any number.
    if (!facts.max_items.has_value() && count + 1 >= facts.min_items && count >= num_prefixes) {
      automaton_->AddCall(before, rule, behind);
      return;
    }
  }
}

}  // namespace switchyard
