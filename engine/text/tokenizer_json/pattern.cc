#include "engine/text/tokenizer_json/pattern.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/text/tokenizer_json/component.h"

namespace switchyard::tokenizer_json {

std::optional<Pattern> Pattern::Read(JsonFields* fields, const char* name) {
  const nlohmann::json* const json = fields->Find(name);
  const bool has_one = json != nullptr && json->is_object() && json->size() == 1 && json->begin()->is_string() &&
                       (json->begin().key() == "String" || json->begin().key() == "Regex");
  if (!has_one || json->begin()->get_ref<const std::string&>().empty()) {
    fields->Fail(name, R"(must be {"String": …} or {"Regex": …}, not empty)");
    return std::nullopt;
  }
  Pattern pattern;
  if (json->begin().key() == "String") {
    pattern.literal_ = json->begin()->get<std::string>();
    return pattern;
  }
  absl::StatusOr<Regex> regex = Regex::Compile(json->begin()->get_ref<const std::string&>());
  if (!regex.ok()) {
    const std::string what(regex.status().message());
    if (absl::IsUnimplemented(regex.status())) {
      fields->Adopt(absl::UnimplementedError(fields->place() + ": " + name + ": " + what));
    } else {
      fields->Fail(name, what);
    }
    return std::nullopt;
  }
  pattern.regex_ = *std::move(regex);
  return pattern;
}

void Pattern::FindAll(std::string_view text, std::vector<Match>* matches) const {
  if (regex_) return regex_->FindAll(text, matches);
  for (size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, at + literal_.size())) {
    matches->push_back({at, at + literal_.size()});
  }
}

std::optional<Replacement> Replacement::Read(JsonFields* fields) {
  std::optional<Pattern> pattern = Pattern::Read(fields, "pattern");
  std::string content = RequiredString(fields, "content");
  if (!pattern) return std::nullopt;
  return Replacement(*std::move(pattern), std::move(content));
}

std::string Replacement::Apply(std::string_view text, const std::vector<Match>& matches) const {
  std::string out;
  size_t begin = 0;
  for (const Match& match : matches) {
    out.append(text.substr(begin, match.begin - begin)).append(content_);
    begin = match.end;
  }
  return out.append(text.substr(begin));
}

}  // namespace switchyard::tokenizer_json
