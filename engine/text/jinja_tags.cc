#include "engine/text/jinja_tags.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_replace.h"

namespace switchyard {
namespace {

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

// Where a tag's inside ends: at `close`, outside of string literals. npos when it does not.
size_t FindClose(std::string_view source, size_t begin, std::string_view close) {
  char quote = 0;
  for (size_t i = begin; i < source.size(); ++i) {
    if (quote != 0) {
      if (source[i] == '\\') {
        ++i;
      } else if (source[i] == quote) {
        quote = 0;
      }
    } else if (source[i] == '\'' || source[i] == '"') {
      quote = source[i];
    } else if (source.substr(i).starts_with(close)) {
      return i;
    }
  }
  return std::string_view::npos;
}

std::string Canonical(std::string_view code) {
  std::string outside;  // since the last literal
  std::string out;
  const auto flush = [&] {
    out += absl::StrReplaceAll(outside, {{"message.content", "message['content']"},
                                         {"message.role", "message['role']"},
                                         {"messages[0].content", "messages[0]['content']"},
                                         {"messages[0].role", "messages[0]['role']"}});
    outside.clear();
  };
  for (size_t i = 0; i < code.size(); ++i) {
    if (code[i] != '\'' && code[i] != '"') {
      if (kWhiteSpace.find(code[i]) == std::string_view::npos) outside.push_back(code[i]);
      continue;
    }
    flush();
    const char quote = code[i];
    out.push_back('\'');
    for (++i; i < code.size() && code[i] != quote; ++i) {
      if (code[i] == '\\' && i + 1 < code.size()) {
        out.push_back(code[i++]);
      } else if (code[i] == '\'') {
        out.push_back('\\');  // a bare ' inside "…"
      }
      out.push_back(code[i]);
    }
    out.push_back('\'');
  }
  flush();
  return out;
}

struct Side {
  bool strips = false;    // "-"
  bool is_block = false;  // {% %} or {# #}
  bool is_end = false;    // of the template
};

// What of the text between two tags is written.
std::string_view WrittenText(std::string_view text, Side before, Side after) {
  if (after.is_end && text.ends_with('\n')) text.remove_suffix(1);
  if (after.strips) {
    text = text.substr(0, text.find_last_not_of(kWhiteSpace) + 1);
  } else if (after.is_block) {
    const size_t newline = text.rfind('\n');
    if (newline != std::string_view::npos || before.is_end) {
      const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      if (text.find_first_not_of(" \t", line) == std::string_view::npos) text = text.substr(0, line);
    }
  }
  if (before.strips) {
    text.remove_prefix(std::min(text.find_first_not_of(kWhiteSpace), text.size()));
  } else if (before.is_block && text.starts_with('\n')) {
    text.remove_prefix(1);
  }
  return text;
}

}  // namespace

std::optional<std::vector<JinjaTag>> SplitJinja(std::string_view source) {
  std::vector<JinjaTag> tags;
  Side before{.is_end = true};
  size_t position = 0;
  while (true) {
    size_t open = source.find('{', position);
    while (open != std::string_view::npos &&
           (open + 1 >= source.size() || std::string_view("{%#").find(source[open + 1]) == std::string_view::npos)) {
      open = source.find('{', open + 1);
    }
    if (open == std::string_view::npos) {
      if (!WrittenText(source.substr(position), before, {.is_end = true}).empty()) return std::nullopt;
      return tags;
    }
    const char kind = source[open + 1];
    size_t begin = open + 2;
    const bool strips_before = source.substr(begin).starts_with('-');
    if (strips_before) ++begin;
    const std::string_view text = source.substr(position, open - position);
    if (!WrittenText(text, before, {.strips = strips_before, .is_block = kind != '{'}).empty()) return std::nullopt;

    const size_t end = kind == '#'   ? source.find("#}", begin)
                       : kind == '{' ? FindClose(source, begin, "}}")
                                     : FindClose(source, begin, "%}");
    if (end == std::string_view::npos) return std::nullopt;
    std::string_view code = source.substr(begin, end - begin);
    before = {.strips = code.ends_with('-'), .is_block = kind != '{'};
    if (before.strips) code.remove_suffix(1);
    if (kind != '#') tags.push_back({.is_output = kind == '{', .code = Canonical(code)});
    position = end + 2;
  }
}

}  // namespace switchyard
