// What a component looks for: {"String": …} or {"Regex": …}.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/checkpoint/json_fields.h"
#include "engine/text/tokenizer_json/regex.h"

namespace switchyard::tokenizer_json {

// Thread safety: immutable.
class Pattern {
 public:
  // Field `name`; a fault is recorded in `fields`.
  static std::optional<Pattern> Read(JsonFields* fields, const char* name);

  // As Regex::FindAll.
  void FindAll(std::string_view text, std::vector<Match>* matches) const;

 private:
  std::string literal_;  // never empty without regex_
  std::optional<Regex> regex_;
};

// Fields "pattern" and "content": every match of the one becomes the other. Thread safety: immutable.
class Replacement {
 public:
  // Absent after a fault, which is recorded in `fields`.
  static std::optional<Replacement> Read(JsonFields* fields);

  const std::string& content() const { return content_; }
  void FindAll(std::string_view text, std::vector<Match>* matches) const { pattern_.FindAll(text, matches); }
  // `text` with what FindAll found in it replaced.
  std::string Apply(std::string_view text, const std::vector<Match>& matches) const;

 private:
  Replacement(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}

  Pattern pattern_;
  std::string content_;
};

}  // namespace switchyard::tokenizer_json
