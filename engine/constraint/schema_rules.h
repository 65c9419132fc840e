// The rules of a schema: one for each set of demands that occurs, so that a schema that refers to itself is finite.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/constraint/automaton.h"
#include "engine/constraint/byte_dfa.h"
#include "engine/constraint/json_rules.h"
#include "engine/constraint/schema_facts.h"

namespace switchyard {

// Not thread-safe; lives as long as one compilation.
class SchemaRules {
 public:
  // Both are borrowed.
  SchemaRules(const SchemaJson* root, Automaton* automaton);

  // The rule of the whole schema, and all that it calls.
  int32_t Add();

 private:
  // The rule of values that satisfy all terms; built later, by Add.
  int32_t RuleOf(const SchemaTerms& terms);
  void Build(int32_t rule, const SchemaTerms& flat);
  // Terms with an anyOf or oneOf become one rule per alternative.
  bool BuildAlternatives(const SchemaTerms& flat, int32_t from, int32_t to);
  void BuildTypes(const SchemaTerms& flat, const SchemaFacts& facts, int32_t from, int32_t to);
  void BuildValues(const SchemaTerms& flat, const SchemaFacts& facts, int32_t from, int32_t to);
  void BuildString(const SchemaFacts& facts, int32_t from, int32_t to);
  void BuildNumber(const SchemaFacts& facts, int32_t from, int32_t to);
  void BuildArray(const SchemaFacts& facts, int32_t from, int32_t to);
  void BuildObject(const SchemaTerms& flat, const SchemaFacts& facts, int32_t from, int32_t to);

  // Members that `properties` names, and those that only `required` does.
  struct Member {
    std::string name;
    SchemaTerms terms;
    bool required = false;
  };
  // Further members: which names (after the opening quote, the closing one not included), and which values.
  struct Extras {
    bool allowed = false;
    ByteDfa names;
    SchemaTerms terms;
  };
  std::vector<Member> MembersOf(const SchemaFacts& facts);
  SchemaTerms TermsOfMember(const SchemaFacts& facts, const std::string& name);
  Extras ExtrasOf(const SchemaTerms& flat, const SchemaFacts& facts, const std::vector<Member>& members);
  // `"name": value` behind the opening quote.
  void AddMemberValue(int32_t from, const SchemaTerms& terms, int32_t to);

  // Content of strings that satisfy the facts.
  ByteDfa StringContent(const SchemaFacts& facts);
  bool Satisfies(const SchemaJson& value, const SchemaFacts& facts, const ByteDfa& strings) const;
  ByteDfa MatchesPattern(const std::string& pattern);

  const SchemaJson* const root_;
  Automaton* const automaton_;
  CompileBudget& budget_;
  SchemaReader reader_;
  JsonRules json_;
  std::map<SchemaTerms, int32_t> rules_;  // by flattened terms
  std::vector<std::pair<int32_t, SchemaTerms>> work_;
};

}  // namespace switchyard
