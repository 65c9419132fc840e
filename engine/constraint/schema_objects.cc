// SchemaRules: objects, their members and the names of further ones.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "engine/constraint/characters.h"
#include "engine/constraint/schema_rules.h"

namespace switchyard {

SchemaTerms SchemaRules::TermsOfMember(const SchemaFacts& facts, const std::string& name) {
  SchemaTerms terms;
  for (const SchemaFacts::ObjectPart& part : facts.objects) {
    const size_t before = terms.size();
    if (part.properties != nullptr) {
      if (const auto found = part.properties->find(name); found != part.properties->end()) {
        terms.push_back({.schema = &*found});
      }
    }
    if (part.pattern_properties != nullptr) {
      for (const auto& [pattern, schema] : part.pattern_properties->items()) {
        if (MatchesPattern(pattern).Accepts(Spell(name, TextForm::kJsonString))) terms.push_back({.schema = &schema});
      }
    }
    if (terms.size() == before && part.additional != nullptr) terms.push_back({.schema = part.additional});
  }
  return terms;
}

std::vector<SchemaRules::Member> SchemaRules::MembersOf(const SchemaFacts& facts) {
  std::vector<Member> members;
  std::map<std::string, bool> known;  // name -> required
  for (const std::string& name : facts.required) known[name] = true;
  std::map<std::string, bool> added;
  const auto add = [&](const std::string& name) {
    if (!added.try_emplace(name, true).second || !budget_.ok()) return;
    members.push_back({.name = name, .terms = TermsOfMember(facts, name), .required = known.contains(name)});
  };
  for (const SchemaFacts::ObjectPart& part : facts.objects) {
    if (part.properties == nullptr) continue;
    for (const auto& [name, schema] : part.properties->items()) add(name);
  }
  for (const std::string& name : facts.required) add(name);
  return members;
}

SchemaRules::Extras SchemaRules::ExtrasOf(const SchemaTerms& flat, const SchemaFacts& facts,
                                          const std::vector<Member>& members) {
  Extras extras = {.allowed = true};
  const std::string* pattern = nullptr;
  for (const SchemaFacts::ObjectPart& part : facts.objects) {
    if (part.pattern_properties == nullptr || part.pattern_properties->empty()) {
      if (part.additional != nullptr) {
        extras.terms.push_back({.schema = part.additional});
      } else if (part.properties != nullptr) {
        extras.allowed = false;
      }
      continue;
    }
    if (pattern != nullptr || part.pattern_properties->size() > 1) {
      reader_.Fail(*flat.front().schema, "patternProperties", "is taken with one pattern only");
      return {};
    }
    pattern = &part.pattern_properties->begin().key();
    extras.terms.push_back({.schema = &*part.pattern_properties->begin()});
  }
  if (!extras.allowed) return extras;
  std::vector<std::string> taken;
  for (const Member& member : members) taken.push_back(Spell(member.name, TextForm::kJsonString));
  // A name is spelled in one way only, so that none comes twice under another spelling.
  extras.names = Subtract(pattern != nullptr ? MatchesPattern(*pattern) : CompilePlainStrings(&budget_),
                          CompileTexts(taken, &budget_), &budget_);
  return extras;
}

void SchemaRules::AddMemberValue(int32_t from, const SchemaTerms& terms, int32_t to) {
  const int32_t rule = RuleOf(terms);
  automaton_->AddCall(json_.AddSeparator(automaton_->AddText(from, "\""), ':'), rule, to);
}

// `open`: behind '{'; next[i]: behind the quote that opens a name, where member i and those behind it may come;
// behind[i]: after a member, where those from i on may follow. Optional members are passed over without a byte.
void SchemaRules::BuildObject(const SchemaTerms& flat, const SchemaFacts& facts, int32_t from, int32_t to) {
  if (!facts.limits_objects() && facts.min_properties == 0) {
    automaton_->AddCall(from, json_.Object(), to);
    return;
  }
  const std::vector<Member> members = MembersOf(facts);
  const Extras extras = ExtrasOf(flat, facts, members);
  if (!budget_.ok()) return;
  const size_t count = members.size();
  const auto num_required =
      std::count_if(members.begin(), members.end(), [](const Member& member) { return member.required; });
  if (facts.min_properties > num_required) {
    return reader_.Fail(*flat.front().schema, "minProperties", "is taken only up to the number of required members");
  }
  if (facts.max_properties.has_value() && (extras.allowed || *facts.max_properties < static_cast<int64_t>(count))) {
    return reader_.Fail(*flat.front().schema, "maxProperties",
                        "is taken only where there can never be more members; set additionalProperties to false");
  }

  std::vector<int32_t> next, behind;
  for (size_t i = 0; i <= count && budget_.ok(); ++i) {
    next.push_back(automaton_->AddState());
    behind.push_back(automaton_->AddState());
  }
  if (!budget_.ok()) return;
  const int32_t open = automaton_->AddState();
  automaton_->AddByte(from, '{', open);
  automaton_->AddByte(open, '"', next[0]);
  if (num_required == 0) automaton_->AddByte(open, '}', to);
  bool may_end = true;  // nothing required from i on
  for (size_t i = count + 1; i-- > 0 && budget_.ok();) {
    if (i < count) {
      may_end = may_end && !members[i].required;
      AddMemberValue(automaton_->AddText(next[i], Spell(members[i].name, TextForm::kJsonString)), members[i].terms,
                     behind[i + 1]);
      if (!members[i].required) automaton_->AddEmpty(next[i], next[i + 1]);
    }
    if (may_end) automaton_->AddByte(behind[i], '}', to);
    automaton_->AddByte(json_.AddSeparator(behind[i], ','), '"', next[i]);
  }
  if (!extras.allowed) return;
  const int32_t name_end = automaton_->AddState();
  Embed(extras.names, next[count], name_end, automaton_);
  AddMemberValue(name_end, extras.terms, behind[count]);
}

}  // namespace switchyard
