#include "engine/constraint/constraint_compiler.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/constraint/json_rules.h"
#include "engine/constraint/json_schema.h"
#include "engine/constraint/regex.h"

namespace switchyard {
namespace {

// Every part with its length, so that different specs have different keys.
std::string KeyOf(const ConstraintSpec& spec) {
  std::string key = absl::StrCat(static_cast<int>(spec.kind), spec.leading_space_is_dropped ? "d" : "k");
  const auto add = [&key](const std::string& part) { absl::StrAppend(&key, part.size(), ":", part); };
  add(spec.prefix);
  add(spec.text);
  for (const std::string& choice : spec.choices) add(choice);
  return key;
}

ByteDfa Choices(const ConstraintSpec& spec, CompileBudget* budget) {
  size_t bytes = 0;
  for (const std::string& choice : spec.choices) {
    bytes += choice.size();
    if (choice.empty()) budget->Fail(absl::InvalidArgumentError("one of the choices is empty; remove it"));
  }
  if (spec.choices.empty()) budget->Fail(absl::InvalidArgumentError("the choices are empty; name at least one"));
  if (bytes > static_cast<size_t>(budget->limits().max_bytes)) {
    budget->Fail(absl::InvalidArgumentError(
        absl::StrCat("the choices have ", bytes, " bytes in all; the limit is ", budget->limits().max_bytes)));
  }
  return CompileTexts(spec.choices, budget);
}

// The texts of a choice or pattern; if they lose a leading space, those that begin with one are only reached behind
// another.
void AddPlainText(const ByteDfa& text, bool leading_space_is_dropped, int32_t from, int32_t to, Automaton* automaton) {
  if (!leading_space_is_dropped) return Embed(text, from, to, automaton);
  Embed(text, automaton->AddText(from, " "), to, automaton);
  Automaton space(&automaton->budget());
  const int32_t start = space.AddState();
  const int32_t end = space.AddText(start, " ");
  space.AddBytes(end, 0, 255, end);
  if (!automaton->budget().ok()) return;
  space.SetFinal(end);
  Embed(Subtract(text, Determinize(space, start), &automaton->budget()), from, to, automaton);
}

}  // namespace

ConstraintCompiler::ConstraintCompiler(const Tokenizer* tokenizer, int64_t vocab_size, size_t max_kept,
                                       const ConstraintLimits& limits)
    : trie_(std::make_shared<const VocabularyTrie>(tokenizer, vocab_size)), max_kept_(max_kept), limits_(limits) {}

absl::StatusOr<std::shared_ptr<Grammar>> ConstraintCompiler::Compile(const ConstraintSpec& spec) {
  std::string key = KeyOf(spec);
  {
    const std::lock_guard lock(mu_);
    if (const auto found = index_.find(key); found != index_.end()) {
      kept_.splice(kept_.begin(), kept_, found->second);
      return kept_.front().grammar;
    }
  }
  absl::StatusOr<std::shared_ptr<Grammar>> grammar = CompileAnew(spec);
  if (!grammar.ok() || max_kept_ == 0) return grammar;
  const std::lock_guard lock(mu_);
  // Another thread may have been as far with the same one; either serves.
  if (index_.contains(key)) return grammar;
  kept_.push_front({.key = key, .grammar = *grammar});
  index_.emplace(std::move(key), kept_.begin());
  if (kept_.size() > max_kept_) {
    index_.erase(kept_.back().key);
    kept_.pop_back();
  }
  return grammar;
}

absl::StatusOr<std::shared_ptr<Grammar>> ConstraintCompiler::CompileAnew(const ConstraintSpec& spec) const {
  CompileBudget budget(limits_);
  Automaton automaton(&budget);
  const int32_t root = automaton.AddRule();
  const int32_t end = automaton.AddState();
  automaton.SetFinal(end);
  int32_t state = automaton.start(root);
  const bool is_json = spec.kind == ConstraintSpec::Kind::kJsonObject || spec.kind == ConstraintSpec::Kind::kJsonSchema;
  // A model's first token often begins with a space; before JSON it does no harm.
  const bool may_lead = is_json || (!spec.prefix.empty() && spec.leading_space_is_dropped);
  if (may_lead) {
    const int32_t behind = automaton.AddState();
    automaton.AddEmpty(state, behind);
    automaton.AddByte(state, ' ', behind);
    state = behind;
  }
  state = automaton.AddText(state, spec.prefix);
  const bool drops = spec.leading_space_is_dropped && spec.prefix.empty();
  switch (spec.kind) {
    case ConstraintSpec::Kind::kJsonObject:
      automaton.AddCall(state, JsonRules(&automaton).Object(), end);
      break;
    case ConstraintSpec::Kind::kJsonSchema:
      automaton.AddCall(state, AddJsonSchema(spec.text, &automaton), end);
      break;
    case ConstraintSpec::Kind::kRegex:
      AddPlainText(CompileRegex(spec.text, RegexScope::kWhole, TextForm::kPlain, &budget), drops, state, end,
                   &automaton);
      break;
    case ConstraintSpec::Kind::kChoice:
      AddPlainText(Choices(spec, &budget), drops, state, end, &automaton);
      break;
  }
  return Grammar::Create(automaton, root, trie_);
}

absl::StatusOr<std::shared_ptr<ForbiddenTexts>> ConstraintCompiler::Forbid(std::span<const std::string> texts) const {
  return ForbiddenTexts::Create(texts, trie_);
}

}  // namespace switchyard
