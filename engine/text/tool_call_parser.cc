#include "engine/text/tool_call_parser.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace switchyard {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxHeadBytes = 64 << 10;  // of a call before its arguments, or with them in another order
constexpr size_t kMaxNameBytes = 256;

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
bool IsNamePart(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.'; }

// Of {"name": "f", "arguments": at the end of `text`: f.
std::optional<std::string> NameBeforeArguments(const std::string& text) {
  std::string_view rest = text;
  const auto skip = [&rest](std::string_view wanted) {
    while (!rest.empty() && IsSpace(rest[0])) rest.remove_prefix(1);
    if (!rest.starts_with(wanted)) return false;
    rest.remove_prefix(wanted.size());
    return true;
  };
  if (!skip("{") || !skip("\"name\"") || !skip(":") || !skip("\"")) return std::nullopt;
  const size_t end = rest.find_first_of("\"\\");
  if (end == std::string_view::npos || end == 0 || rest[end] != '"') return std::nullopt;
  const std::string name(rest.substr(0, end));
  rest.remove_prefix(end + 1);
  if (!skip(",") || !(skip("\"arguments\"") || skip("\"parameters\"")) || !skip(":")) return std::nullopt;
  return skip("") && rest.empty() ? std::optional(name) : std::nullopt;
}

bool IsJsonObject(const std::string& text) {
  return ordered_json::parse(text, nullptr, /*allow_exceptions=*/false).is_object();
}

}  // namespace

void ToolCallParser::Nesting::Take(char c) {
  if (in_string) {
    in_string = escaped || c != '"';
    escaped = !escaped && c == '\\';
  } else if (c == '"') {
    in_string = true;
  } else if (c == '{' || c == '[') {
    ++depth;
  } else if (c == '}' || c == ']') {
    --depth;
  }
}

ToolCallText ToolCallParser::Append(std::string_view text) {
  for (const char c : text) Take(c);
  return std::exchange(out_, {});
}

ToolCallText ToolCallParser::Finish() {
  const bool only_lacks_its_end = (state_ == State::kList && num_calls_ > 0) || state_ == State::kClosing;
  if (only_lacks_its_end) held_.clear();  // the calls are whole
  GiveUp();
  return std::exchange(out_, {});
}

void ToolCallParser::Take(char c) {
  switch (state_) {
    case State::kText:
      return TakeText(c);
    case State::kMarked:
    case State::kList:
      return TakeMarked(c);
    case State::kName:
      return TakeName(c);
    case State::kHead:
      return TakeHead(c);
    case State::kArguments:
      return in_tail_ ? TakeTail(c) : TakeArguments(c);
    case State::kClosing:
      return TakeClosing(c);
  }
}

void ToolCallParser::TakeText(char c) {
  if (follows_ && IsSpace(c)) return;
  follows_ = false;
  held_.push_back(c);
  if (held_ == marker_) {
    state_ = State::kMarked;
    in_list_ = false;
    return;
  }
  // A marker's first byte is in it only once.
  if (marker_.starts_with(held_)) return;
  if (c == marker_.front()) {
    held_.pop_back();
    out_.content += held_;
    held_.assign(1, c);
  } else {
    out_.content += std::exchange(held_, {});
  }
}

void ToolCallParser::TakeMarked(char c) {
  held_.push_back(c);
  if (IsSpace(c)) return;
  const bool is_mistral = options_.format == ToolCallFormat::kMistral;
  if (state_ == State::kMarked && c == '[' && is_mistral) {
    state_ = State::kList;
    in_list_ = true;
  } else if (state_ == State::kList && c == ',') {
    // between calls
  } else if (state_ == State::kList && c == ']') {
    if (num_calls_ == 0) return GiveUp();
    held_.clear();
    state_ = State::kText;
  } else if (c == '{') {
    object_.assign(1, '{');
    nesting_ = {.depth = 1};
    state_ = State::kHead;
  } else if (state_ == State::kMarked && IsNamePart(c) && is_mistral) {
    name_.assign(1, c);
    state_ = State::kName;
  } else {
    GiveUp();
  }
}

void ToolCallParser::TakeName(char c) {
  held_.push_back(c);
  if (c == '{') {
    std::string_view name = name_;
    if (const size_t bracket = name.find('['); bracket != std::string_view::npos) {
      const std::string_view mark = name.substr(bracket);
      const bool known = mark.ends_with(kArguments) && (mark == kArguments || mark.starts_with(kCallId));
      if (!known) return GiveUp();
      name = name.substr(0, bracket);
    }
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (std::any_of(name.begin(), name.end(), [](char part) { return !IsNamePart(part); })) return GiveUp();
    Begin(std::string(name));
    return TakeArguments(c);
  }
  name_.push_back(c);
  if (name_.size() > kMaxNameBytes || c == '\n') GiveUp();
}

void ToolCallParser::TakeHead(char c) {
  held_.push_back(c);
  if (c == '{' && nesting_.depth == 1 && !nesting_.in_string) {
    if (const std::optional<std::string> name = NameBeforeArguments(object_)) {
      Begin(*name);
      return TakeArguments(c);
    }
  }
  object_.push_back(c);
  nesting_.Take(c);
  if (object_.size() > kMaxHeadBytes) return GiveUp();
  if (nesting_.depth == 0) FinishObject();
}

// The keys stand in another order, or the arguments are a string.
void ToolCallParser::FinishObject() {
  const ordered_json call = ordered_json::parse(object_, nullptr, /*allow_exceptions=*/false);
  if (!call.is_object() || !call.contains("name") || !call["name"].is_string()) return GiveUp();
  const char* const key = call.contains("arguments") ? "arguments" : "parameters";
  if (!call.contains(key)) return GiveUp();
  const std::string arguments = call[key].is_string() ? call[key].get<std::string>() : call[key].dump();
  if (!IsJsonObject(arguments)) return GiveUp();
  ++num_calls_;
  if (IsCounted()) {
    out_.calls.push_back({.index = num_calls_ - 1, .name = call["name"].get<std::string>(), .arguments = arguments});
  }
  EndCall();
}

void ToolCallParser::Begin(std::string name) {
  name_ = std::move(name);
  arguments_.clear();
  nesting_ = {};
  in_tail_ = false;
  // In a list the call's own object is still open behind the arguments.
  object_.assign(state_ == State::kHead ? 1 : 0, '{');
  state_ = State::kArguments;
  if (!options_.incremental) return;
  ++num_calls_;
  held_.clear();
  if (IsCounted()) out_.calls.push_back({.index = num_calls_ - 1, .name = name_, .arguments = ""});
}

void ToolCallParser::AddArguments(std::string_view text) {
  if (!IsCounted()) return;
  if (out_.calls.empty() || out_.calls.back().index != num_calls_ - 1) {
    out_.calls.push_back({.index = num_calls_ - 1, .name = "", .arguments = ""});
  }
  out_.calls.back().arguments += text;
}

void ToolCallParser::TakeArguments(char c) {
  nesting_.Take(c);
  if (options_.incremental) {
    AddArguments({&c, 1});
  } else {
    arguments_.push_back(c);
    if (arguments_.size() > 1) held_.push_back(c);  // the first is held already
  }
  if (nesting_.depth > 0) return;
  if (!options_.incremental && !IsJsonObject(arguments_)) return GiveUp();
  in_tail_ = !object_.empty();
  nesting_ = {.depth = 1};
  if (in_tail_) return;
  TakeTail('}');
}

// Behind the arguments: other members, such as an id, up to the call's "}".
void ToolCallParser::TakeTail(char c) {
  nesting_.Take(c);
  if (in_tail_ && !options_.incremental) held_.push_back(c);
  if (nesting_.depth > 0) return;
  if (!options_.incremental) {
    ++num_calls_;
    if (IsCounted()) out_.calls.push_back({.index = num_calls_ - 1, .name = name_, .arguments = arguments_});
  }
  EndCall();
}

void ToolCallParser::EndCall() {
  held_.clear();
  state_ = in_list_ ? State::kList : options_.format == ToolCallFormat::kHermes ? State::kClosing : State::kText;
}

void ToolCallParser::TakeClosing(char c) {
  if (held_.empty() && IsSpace(c)) return;
  held_.push_back(c);
  if (kHermesEnd.starts_with(held_) && held_ != kHermesEnd) return;
  // Without an end what comes is text, or the next call.
  const std::string text = held_ == kHermesEnd ? "" : held_;
  held_.clear();
  state_ = State::kText;
  follows_ = true;
  for (const char next : text) Take(next);
}

void ToolCallParser::GiveUp() {
  out_.content += std::exchange(held_, {});
  state_ = State::kText;
}

}  // namespace switchyard
