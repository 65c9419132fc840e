// What a component looks for: {"String": …} or {"Regex": …}.
#pragma once

#include <optional>
#include <string>
#include <string_view>
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

}  // namespace switchyard::tokenizer_json
