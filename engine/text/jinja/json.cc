#include "engine/text/jinja/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/text/jinja/text.h"

namespace switchyard::jinja {
namespace {

class Writer {
 public:
  Writer(const JsonStyle& style, std::string* text) : style_(style), text_(*text) {}

  bool Write(const Value& value, int level) {
    if (value.is_none()) {
      text_ += "null";
    } else if (value.is_bool()) {
      text_ += value.integer() != 0 ? "true" : "false";
    } else if (value.is_int()) {
      absl::StrAppend(&text_, value.integer());
    } else if (value.is_float()) {
      std::string number = FloatText(value.number());
      text_ += number == "nan" ? "NaN" : number == "inf" ? "Infinity" : number == "-inf" ? "-Infinity" : number;
    } else if (value.is_string()) {
      WriteString(value.string());
    } else if (value.is_list()) {
      return WriteList(value.list(), level);
    } else if (value.is_dict()) {
      return WriteDict(value.dict(), level);
    } else {
      return false;
    }
    return true;
  }

 private:
  void NewLine(int level) {
    if (style_.indent) text_.append("\n").append(static_cast<size_t>(*style_.indent) * level, ' ');
  }
  bool WriteList(const std::vector<Value>& items, int level) {
    text_ += "[";
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) text_ += style_.item_separator;
      NewLine(level + 1);
      if (!Write(items[i], level + 1)) return false;
    }
    if (!items.empty()) NewLine(level);
    text_ += "]";
    return true;
  }
  bool WriteDict(const Dict& dict, int level) {
    std::vector<const std::pair<std::string, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto* a, const auto* b) { return a->first < b->first; });
    }
    text_ += "{";
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) text_ += style_.item_separator;
      NewLine(level + 1);
      WriteString(entries[i]->first);
      text_ += style_.key_separator;
      if (!Write(entries[i]->second, level + 1)) return false;
    }
    if (!entries.empty()) NewLine(level);
    text_ += "}";
    return true;
  }
  void WriteString(std::string_view string) {
    constexpr std::string_view kSpecial = "\"\\\n\r\t\b\f";
    constexpr std::string_view kNames = "\"\\nrtbf";
    text_ += '"';
    for (const std::string_view character : Characters(string)) {
      const size_t special = kSpecial.find(character);
      const auto byte = static_cast<unsigned char>(character[0]);
      if (special != std::string_view::npos) {
        text_ += {'\\', kNames[special]};
      } else if (byte < 0x20) {
        absl::StrAppendFormat(&text_, "\\u%04x", byte);
      } else if (style_.ascii_only && byte >= 0x80) {
        const uint32_t point = CodePoint(character);
        if (point < 0x10000) {
          absl::StrAppendFormat(&text_, "\\u%04x", point);
        } else {
          absl::StrAppendFormat(&text_, "\\u%04x\\u%04x", 0xD800 + ((point - 0x10000) >> 10),
                                0xDC00 + ((point - 0x10000) & 0x3FF));
        }
      } else {
        text_ += character;
      }
    }
    text_ += '"';
  }

  const JsonStyle& style_;
  std::string& text_;
};

// Containers are built inside out, since values are immutable.
// NOLINTNEXTLINE(bugprone-exception-escape): nlohmann's move constructor checks itself with an assertion.
class Reader : public nlohmann::json_sax<nlohmann::json> {
 public:
  Value root;
  std::string fault;

  bool null() override { return Add(Value(None{})); }
  bool boolean(bool value) override { return Add(Value(value)); }
  bool number_integer(number_integer_t value) override { return Add(Value(int64_t{value})); }
  bool number_unsigned(number_unsigned_t value) override {
    return value <= INT64_MAX ? Add(Value(static_cast<int64_t>(value))) : Add(Value(static_cast<double>(value)));
  }
  bool number_float(number_float_t value, const string_t&) override { return Add(Value(value)); }
  bool string(string_t& value) override { return Add(Value(std::move(value))); }
  bool binary(binary_t&) override { return false; }  // not in JSON text
  bool start_object(std::size_t) override { return Open(/*is_object=*/true); }
  bool start_array(std::size_t) override { return Open(/*is_object=*/false); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    open_.back().key = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fault = absl::StrCat("no JSON at byte ", position);
    return false;
  }

 private:
  struct Container {
    bool is_object;
    std::string key;
    std::vector<Value> items;
    std::vector<std::pair<std::string, Value>> entries;
  };

  bool Add(Value value) {
    if (open_.empty()) {
      root = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().entries.emplace_back(std::move(open_.back().key), std::move(value));
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }
  bool Open(bool is_object) {
    if (open_.size() >= kMaxJsonDepth) {
      fault = absl::StrCat("JSON nested deeper than ", kMaxJsonDepth, " levels");
      return false;
    }
    open_.push_back({.is_object = is_object, .key = "", .items = {}, .entries = {}});
    return true;
  }
  bool Close() {
    Container container = std::move(open_.back());
    open_.pop_back();
    return Add(container.is_object ? MakeDict(std::move(container.entries)) : MakeList(std::move(container.items)));
  }

  std::vector<Container> open_;  // outermost first
};

}  // namespace

bool AppendJson(const Value& value, const JsonStyle& style, std::string* text) {
  return Writer(style, text).Write(value, 0);
}

absl::StatusOr<Value> ParseJson(std::string_view text) {
  Reader reader;
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &reader)) return std::move(reader.root);
  return absl::InvalidArgumentError(reader.fault);
}

}  // namespace switchyard::jinja
