#include "engine/text/jinja/value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace switchyard::jinja {
namespace {

void AppendQuoted(std::string_view text, std::string* out) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out->push_back(quote);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      *out += {'\\', c};
    } else if (c == '\n') {
      *out += "\\n";
    } else if (c == '\r') {
      *out += "\\r";
    } else if (c == '\t') {
      *out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      *out += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    } else {
      out->push_back(c);
    }
  }
  out->push_back(quote);
}

void Contain(const Value& part, Extent* extent) {
  const Extent of_part = ExtentOf(part);
  extent->depth = std::max(extent->depth, of_part.depth + 1);
  extent->weight = std::min(extent->weight + of_part.weight, kMaxWeight);
}

}  // namespace

const std::vector<Value>& Value::list() const { return std::get<std::shared_ptr<const List>>(data_)->items; }
const Extent& Value::list_extent() const { return std::get<std::shared_ptr<const List>>(data_)->extent; }

const Value* Dict::Find(std::string_view key) const {
  const auto found = std::find_if(entries.rbegin(), entries.rend(), [key](const auto& e) { return e.first == key; });
  return found == entries.rend() ? nullptr : &found->second;
}

Extent ExtentOf(const Value& value) {
  if (value.is_list()) return value.list_extent();
  if (value.is_dict()) return value.dict().extent;
  return {.depth = 0, .weight = value.is_string() ? 1 + static_cast<int64_t>(value.string().size() / 16) : 1};
}

Value MakeList(std::vector<Value> items) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) Contain(item, &list->extent);
  list->items = std::move(items);
  return Value(std::shared_ptr<const List>(std::move(list)));
}

Value MakeDict(std::vector<std::pair<std::string, Value>> entries) {
  auto dict = std::make_shared<Dict>();
  for (const auto& [key, item] : entries) {
    dict->extent.weight += 1 + static_cast<int64_t>(key.size() / 16);
    Contain(item, &dict->extent);
  }
  dict->entries = std::move(entries);
  return Value(std::shared_ptr<const Dict>(std::move(dict)));
}

bool Truthy(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_number()) return value.number() != 0;
  if (value.is_string()) return !value.string().empty();
  if (value.is_list()) return !value.list().empty();
  if (value.is_dict()) return !value.dict().entries.empty();
  return true;
}

bool Equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.number() == b.number() : a.integer() == b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_list() && b.is_list()) {
    return std::equal(a.list().begin(), a.list().end(), b.list().begin(), b.list().end(), Equal);
  }
  if (a.is_dict() && b.is_dict()) {
    const auto& entries = a.dict().entries;
    return entries.size() == b.dict().entries.size() &&
           std::all_of(entries.begin(), entries.end(), [&b](const auto& e) {
             const Value* other = b.dict().Find(e.first);
             return other != nullptr && Equal(e.second, *other);
           });
  }
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

const char* TypeName(const Value& value) {
  if (value.is_undefined()) return "undefined";
  if (value.is_none()) return "None";
  if (value.is_bool()) return "bool";
  if (value.is_int()) return "int";
  if (value.is_float()) return "float";
  if (value.is_string()) return "str";
  if (value.is_list()) return "list";
  if (value.is_dict()) return "dict";
  return value.is_namespace() ? "namespace" : "macro";
}

// Python's repr: the shortest digits that read back as the same number; an exponent below 1e-4 and from 1e16 on.
std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 512> buffer;  // fixed notation of the largest double has 309 digits
  const double size = std::abs(value);
  const bool fixed = value == 0 || (size >= 1e-4 && size < 1e16);
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                          fixed ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer.data(), end);
  if (fixed && text.find('.') == std::string::npos) text += ".0";
  return text;
}

void AppendText(const Value& value, std::string* text) {
  if (value.is_undefined()) return;
  if (value.is_string()) {
    *text += value.string();
  } else {
    AppendRepr(value, text);
  }
}

void AppendRepr(const Value& value, std::string* text) {
  if (value.is_undefined()) {
    *text += "Undefined";
  } else if (value.is_none()) {
    *text += "None";
  } else if (value.is_bool()) {
    *text += value.integer() != 0 ? "True" : "False";
  } else if (value.is_int()) {
    absl::StrAppend(text, value.integer());
  } else if (value.is_float()) {
    *text += FloatText(value.number());
  } else if (value.is_string()) {
    AppendQuoted(value.string(), text);
  } else if (value.is_list()) {
    *text += "[";
    bool first = true;
    for (const Value& item : value.list()) {
      if (!first) *text += ", ";
      first = false;
      AppendRepr(item, text);
    }
    *text += "]";
  } else if (value.is_dict()) {
    *text += "{";
    bool first = true;
    for (const auto& [key, item] : value.dict().entries) {
      if (!first) *text += ", ";
      first = false;
      AppendQuoted(key, text);
      *text += ": ";
      AppendRepr(item, text);
    }
    *text += "}";
  } else {
    absl::StrAppend(text, "<", TypeName(value), ">");
  }
}

}  // namespace switchyard::jinja
